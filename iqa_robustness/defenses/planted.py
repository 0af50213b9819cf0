"""Defenses that are broken by construction; the harness must never call them good. They are not registered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.certified.bounds import Certificates
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class ConstantPurifier(Purification):
    """Degenerate: every image becomes the same grey one, so no attack moves the score, and nothing is measured."""

    name: ClassVar[str] = "planted-constant-purifier"
    version: ClassVar[int] = 1

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to the same shape, ½ everywhere."""
        del streams
        return torch.full_like(images, 0.5)


# How much too good the certificates below are.
_OVERSTATED = 10


@dataclass(frozen=True, kw_only=True)
class OverstatedMedian(MedianSmoothing):
    """Unsound: the bounds of a radius are said to hold within ten times that radius."""

    name: ClassVar[str] = "planted-overstated-median"

    def certificates(
        self, draws: Tensor, *, selection: Tensor | None = None, score_range: tuple[float, float], family: int = 1
    ) -> Certificates:
        """Bounds as they should be, radii not."""
        found = super().certificates(draws, selection=selection, score_range=score_range, family=family)
        return replace(found, radius=_OVERSTATED * found.radius)


@dataclass(frozen=True, kw_only=True)
class OverstatedClass(RandomizedSmoothing):
    """Unsound: a class is said to hold within ten times the radius that its votes prove."""

    name: ClassVar[str] = "planted-overstated-class"

    def certificates(
        self, draws: Tensor, *, selection: Tensor | None = None, score_range: tuple[float, float], family: int = 1
    ) -> Certificates:
        """Classes as they should be, radii not."""
        found = super().certificates(draws, selection=selection, score_range=score_range, family=family)
        return replace(found, radius=_OVERSTATED * found.radius)
