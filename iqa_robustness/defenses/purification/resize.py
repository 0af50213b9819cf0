"""Resize: a smaller image has lost its finest frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import within_range
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.preparation import resized
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Resize(Purification):
    """Shrink the image bilinearly; the metric is given the small one. (`upscale` brings it back to its size.)

    Geometry: (H, W) becomes (⌊H · scale⌋, ⌊W · scale⌋), at least 1; pixels do not correspond, Q_score is not
    applicable. A metric that takes no images so small refuses them.
    Differentiable; adaptive attacks pass through it.

    Source: Guardians of Image Quality, section 3.2; Guo et al., ICLR 2018. The published code interpolates without
    antialiasing, so that fine patterns (and perturbations) are sampled rather than averaged (`paper=True`).
    scale: share of height and width that is left, above 0 and at most 1.
    Raises: ConfigurationError for another scale.
    """

    name: ClassVar[str] = "resize"
    version: ClassVar[int] = 1
    keeps_geometry: ClassVar[bool] = False
    varied_parameter: ClassVar[str] = "scale"
    parameter_values: ClassVar[Sequence[Any]] = (0.1, 0.25, 0.5, 0.75, 0.9)

    scale: float = 0.5

    def __post_init__(self) -> None:
        check_scale(self.scale, defense=self.name)

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, ⌊H · scale⌋, ⌊W · scale⌋)."""
        del streams
        return shrunk(images, self.scale, antialias=not self.paper)


def shrunk(images: Tensor, scale: float, *, antialias: bool) -> Tensor:
    """(N, 3, H, W) to (N, 3, ⌊H · scale⌋, ⌊W · scale⌋), at least 1 × 1, bilinear."""
    height, width = (max(1, int(side * scale)) for side in images.shape[-2:])
    return within_range(resized(images, (height, width), antialias=antialias))


def check_scale(scale: float, *, defense: str) -> None:
    """Raise ConfigurationError unless 0 < scale ≤ 1."""
    if not 0 < scale <= 1:
        raise ConfigurationError(f"{defense} needs a scale above 0 and at most 1, got {scale}")
