"""What becomes of a picture on its way to the judge: it is stored as a file, or shrunk and shown at its old size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.jpeg import check_quality, coded, round_trip


@dataclass(frozen=True, kw_only=True)
class Encoder(ABC):
    """A round trip of images, each on its own. A frozen dataclass with a `version`, so that it can be part of a key.

    name: what columns of records are called after.      version: raised when its results change.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the same shape, as it comes back; no gradient passes."""

    @abstractmethod
    def surrogate(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape: a stand-in that a gradient passes through."""

    def through(self, images: Tensor) -> Tensor:
        """The encoder's own values, with the slope of the surrogate where a gradient is wanted (BPDA)."""
        exact = self.encode(images.detach())
        if not (torch.is_grad_enabled() and images.requires_grad):
            return exact
        stand_in = self.surrogate(images)
        return exact + (stand_in - stand_in.detach())


@dataclass(frozen=True, kw_only=True)
class Lossless(Encoder):
    """Nothing is lost: PNG, for the 8-bit images that attacks end with."""

    name: ClassVar[str] = "lossless"
    version: ClassVar[int] = 1

    def encode(self, images: Tensor) -> Tensor:
        """The images as they are."""
        return images

    def surrogate(self, images: Tensor) -> Tensor:
        """The images as they are."""
        return images


@dataclass(frozen=True, kw_only=True)
class JpegFile(Encoder):
    """A baseline JPEG file with 4:2:0, as Pillow writes and reads it.

    quality: 1 … 100, libjpeg's scale; 75 is what Pillow and libjpeg take unless told otherwise.
    Raises: ConfigurationError for another quality.
    """

    name: ClassVar[str] = "jpeg"
    version: ClassVar[int] = 1

    quality: int = 75

    def __post_init__(self) -> None:
        check_quality(self.quality)

    def encode(self, images: Tensor) -> Tensor:
        """On the grid k/255; the images are rounded to it first."""
        return from_uint8(round_trip(to_uint8(images), self.quality)).to(images.device)

    def surrogate(self, images: Tensor) -> Tensor:
        """The codec in floating point, with a soft slope where it rounds."""
        return coded(images, self.quality)


@dataclass(frozen=True, kw_only=True)
class Thumbnail(Encoder):
    """Shrunk and brought back to its size by Pillow, bilinearly: antialiased, with 8 bits after each.

    scale: share of height and width in between, above 0 and below 1.
    Raises: ConfigurationError for another scale.
    """

    name: ClassVar[str] = "resize"
    version: ClassVar[int] = 1

    scale: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise ConfigurationError(f"a thumbnail needs a scale above 0 and below 1, got {self.scale}")

    def encode(self, images: Tensor) -> Tensor:
        """On the grid k/255; the images are rounded to it first."""
        (rows, columns), (height, width) = self._small(images), images.shape[-2:]
        pixels = to_uint8(images)
        for place, picture in enumerate(pixels):
            small = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR)
            pixels[place] = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
        return from_uint8(pixels).to(images.device)

    def surrogate(self, images: Tensor) -> Tensor:
        """The same without rounding: both steps are linear."""
        height, width = images.shape[-2:]
        small = F.interpolate(images, size=self._small(images), mode="bilinear", antialias=True)
        return F.interpolate(small, size=(height, width), mode="bilinear", antialias=True)

    def _small(self, images: Tensor) -> tuple[int, int]:
        height, width = (max(1, round(side * self.scale)) for side in images.shape[-2:])
        return height, width
