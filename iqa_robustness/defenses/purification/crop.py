"""Crop: a window of the image, at a place that nobody could foresee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import refuse_smaller
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams, required


@dataclass(frozen=True, kw_only=True)
class Crop(Purification):
    """A square window at a uniformly random place; the metric is given the window.

    Geometry: (H, W) becomes (size, size); pixels do not correspond, Q_score is not applicable.
    Differentiable and random: adaptive attacks average over draws (EOT).

    Source: Guardians of Image Quality, section 3.2; Guo et al., ICLR 2018. The published code draws one place for all
    images of a batch; here each image draws its own, also with `paper=True`, since a score must not depend on the
    other images of its batch.
    size: side of the window in pixels.
    Raises: ConfigurationError for a size below 1, an image smaller than the window, or without streams.
    """

    name: ClassVar[str] = "crop"
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    keeps_geometry: ClassVar[bool] = False
    varied_parameter: ClassVar[str] = "size"
    parameter_values: ClassVar[Sequence[Any]] = (32, 64, 128, 256, 288)

    size: int = 128

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigurationError(f"crop needs a size of at least 1 pixel, got {self.size}")

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, size, size)."""
        streams, size = required(streams, self.name), self.size
        refuse_smaller(
            images,
            size,
            defense=self.name,
            what=f"a crop of {size} pixels",
            fix="use a smaller size, or larger images (--iqa-profile=standard has 384 × 512)",
        )
        height, width = images.shape[-2:]
        tops, lefts = (streams.integers(side - size + 1).tolist() for side in (height, width))
        windows = [
            image[:, top : top + size, left : left + size] for image, top, left in zip(images, tops, lefts, strict=True)
        ]
        return torch.stack(windows) if windows else images[..., :size, :size]
