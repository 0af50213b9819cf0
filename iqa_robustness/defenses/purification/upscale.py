"""Upscale: shrink the image and bring it back to its size, without its finest frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import within_range
from iqa_robustness.defenses.purification.resize import check_scale, shrunk
from iqa_robustness.errors import UnknownNameError
from iqa_robustness.streams import Streams

Mode = Literal["nearest", "bilinear", "bicubic"]
_MODES = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True, kw_only=True)
class Upscale(Purification):
    """Shrink bilinearly by `scale`, then enlarge to the image's own size.

    Interpolation is OpenCV's in each mode: pixel centres at halves (nearest: ⌊x · ratio⌋), bicubic with a = −0.75 and
    clipped to [0, 1].
    Differentiable; adaptive attacks pass through it.

    Source: Guardians of Image Quality, section 3.2 (bilinear); the purification study (arXiv 2404.06957) has all three.
    Published code shrinks without antialiasing and enlarges to one size whatever the image's was: 384 × 512 in the
    benchmark, 299 × 299 in the study. `paper=True` does both, and then pixels do not correspond.
    scale: share of height and width that is left in between, above 0 and at most 1.
    mode: how it is enlarged.
    Raises: ConfigurationError for another scale, UnknownNameError for another mode.
    """

    name: ClassVar[str] = "upscale"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "scale"
    parameter_values: ClassVar[Sequence[Any]] = (0.1, 0.25, 0.5, 0.75, 0.9)
    published_size: ClassVar[tuple[int, int]] = (384, 512)

    scale: float = 0.5
    mode: Mode = "bilinear"

    def __post_init__(self) -> None:
        check_scale(self.scale, defense=self.name)
        if self.mode not in _MODES:
            raise UnknownNameError(f"mode of {self.name}", self.mode, _MODES)

    @property
    def keeps_geometry(self) -> bool:
        """As long as the image gets its own size back."""
        return not self.paper

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W); with `paper` to (N, 3, *published_size)."""
        del streams
        size = self.published_size if self.paper else images.shape[-2:]
        small = shrunk(images, self.scale, antialias=not self.paper)
        if self.mode == "nearest":
            return F.interpolate(small, size=size, mode="nearest")
        large = F.interpolate(small, size=size, mode=self.mode, align_corners=False)
        return within_range(large) if self.mode == "bilinear" else large.clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class UpscaleNearest(Upscale):
    """`Upscale` by repeating pixels, as the purification study has it."""

    name: ClassVar[str] = "upscale-nearest"
    published_size: ClassVar[tuple[int, int]] = (299, 299)

    mode: Mode = "nearest"


@dataclass(frozen=True, kw_only=True)
class UpscaleBicubic(Upscale):
    """`Upscale` by bicubic interpolation, as the purification study has it."""

    name: ClassVar[str] = "upscale-bicubic"
    published_size: ClassVar[tuple[int, int]] = (299, 299)

    mode: Mode = "bicubic"
