"""DiffJPEG: JPEG compression whose rounding lets a gradient pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import refuse_smaller
from iqa_robustness.jpeg import check_quality, coded
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class DiffJPEG(Purification):
    """Baseline JPEG at a quality, 4:2:0, in floating point; pixels are not rounded to 8 bits.

    Its coefficients are rounded as in JPEG, and rounding has no slope: what is differentiable about it is the backward
    pass, so it is declared as what it is, a defense with a surrogate (BPDA). The surrogate's slope is steep where a
    coefficient is about to change its step; the published code passes the gradient straight through (`paper=True`).

    Source: Guardians of Image Quality, section 3.2; Reich et al., WACV 2024 (Diff-JPEG, straight-through variant).
    Its code also mirrors the image into a margin of 16 − (side mod 16) pixels, a whole block where none is missing
    (`paper=True`); JPEG repeats the edge.
    quality: 1 … 100, libjpeg's scale.
    Raises: ConfigurationError for another quality; with `paper`, for an image smaller than the margin.
    """

    name: ClassVar[str] = "diffjpeg"
    version: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    varied_parameter: ClassVar[str] = "quality"
    parameter_values: ClassVar[Sequence[Any]] = (10, 30, 50, 70, 90)

    quality: int = 50

    def __post_init__(self) -> None:
        check_quality(self.quality)

    @property
    def surrogate_name(self) -> str:
        """The slope that is taken for that of rounding."""
        return "straight-through" if self.paper else "soft-rounding"

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        del streams
        if not self.paper:
            return coded(images, self.quality)
        height, width = images.shape[-2:]
        right, below = 16 - width % 16, 16 - height % 16
        refuse_smaller(
            images,
            max(right, below) + 1,
            defense=self.name,
            what=f"a mirrored margin of {max(right, below)} pixels",
            fix="use larger images, or paper=False",
        )
        framed = F.pad(images, (0, right, 0, below), mode="reflect")
        return coded(framed, self.quality, slope="straight-through")[..., :height, :width]

    def surrogate(self, images: Tensor) -> Tensor:
        """The same values, with a slope."""
        return self.purify(images)
