"""Flip: the mirrored image has the same quality and another perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Flip(Purification):
    """Mirror the image left to right.

    Differentiable and its own inverse, so an adaptive attack passes through it unhindered.

    Source: Guardians of Image Quality, section 3.2 ("mirroring"); its code turns the image by 180° (`paper=True`).
    """

    name: ClassVar[str] = "flip"
    version: ClassVar[int] = 1
    keeps_geometry: ClassVar[bool] = False

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        del streams
        return images.flip((-2, -1) if self.paper else (-1,))
