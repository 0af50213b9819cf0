"""Classes of scores: what a smoothed classification votes about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

# Tenths of the score range, and one class on either side of it.
STEPS = 10
CLASSES = STEPS + 2


@dataclass(frozen=True)
class ScoreClasses:
    """Twelve classes of a score range (low, high), with d a tenth of its width.

    Class 0 is s ≤ low; k = 1 … 10 is low + (k − 1) · d < s ≤ low + k · d; 11 is s > high. They follow the score, not
    its direction: of a metric whose lower scores are better, class 0 is the best. No score is misplaced by rounding.

    Source: the benchmark's certified defenses.
    """

    score_range: tuple[float, float]

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """The values low + k · d for k = 0 … 10, each the last float64 not above it: no float64 lies between."""
        low, high = (Fraction(bound) for bound in self.score_range)
        return tuple(_not_above(low + number * (high - low) / STEPS) for number in range(STEPS + 1))

    def of(self, scores: Tensor) -> Tensor:
        """Scores of any shape to classes, int64."""
        edges = torch.tensor(self.edges, dtype=torch.float64, device=scores.device)
        return torch.bucketize(scores.double(), edges)

    def middles(self, classes: Tensor) -> Tensor:
        """Classes to scores, float64: the middle of the class's interval; low for class 0, high for class 11."""
        low, high = self.score_range
        inner = [low + (number - 0.5) * (high - low) / STEPS for number in range(1, STEPS + 1)]
        return torch.tensor([low, *inner, high], dtype=torch.float64, device=classes.device)[classes]


def _not_above(exact: Fraction) -> float:
    nearest = float(exact)
    return math.nextafter(nearest, -math.inf) if Fraction(nearest) > exact else nearest
