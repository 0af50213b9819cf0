"""What attacks and defenses are tried on: the planted reference metric, as it is, counted, noisy, or breaking down."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.attacks.base import Attack
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.streams import Streams


def reference_for(attack: Attack | None = None, *, device: str = "cpu") -> Metric:
    """The planted metric that an attack must move, the one on which cells prove it; the usual one without an attack."""
    if attack is None:
        return Vulnerable().to(device).eval()
    from iqa_robustness.bench import proof  # with the stages of cells, which a metric's checks do not need

    return metrics.create(proof.reference_for(attack), device=device)


class Wrapped(Metric):
    """Scores of another metric, under a spec of its own.

    Args:
        metric: the other one.
        facts: fields of the spec that differ.
    """

    def __init__(self, metric: Metric, **facts: Any) -> None:
        super().__init__()
        self.metric = metric
        self.spec = dataclasses.replace(metric.spec, **facts)

    def score(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,): what the other one says."""
        scores: Tensor = self.metric(images)
        return scores


class Counted(Wrapped):
    """Counts images scored and images differentiated, without the zero images that fill a micro-batch."""

    def __init__(self, metric: Metric, **facts: Any) -> None:
        super().__init__(metric, **facts)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        rows = int(images.detach().flatten(1).any(dim=1).sum())
        self.forwards += rows
        self.backwards += rows if torch.is_grad_enabled() and images.requires_grad else 0
        return self.score(images)


class Noisy(Wrapped):
    """Draws twice in every forward pass."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric, name="planted-noisy", stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        return self.score(images) + streams.normal() + streams.uniform(2).sum(dim=1)


class Fragile(Wrapped):
    """NaN for every changed version of one image.

    Args:
        metric: the other one.
        clean: (N, 3, H, W), all images that are attacked.
        row: the image whose changed versions have no score.
    """

    def __init__(self, metric: Metric, clean: Tensor, row: int) -> None:
        super().__init__(metric)
        self.clean, self.row = clean, row

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        difference = (images.detach()[:, None] - self.clean).abs().flatten(2)
        nearest = difference.mean(dim=2).argmin(dim=1) == self.row
        changed = difference[:, self.row].any(dim=1) & images.detach().flatten(1).any(dim=1)
        return torch.where(nearest & changed, torch.nan, self.score(images))
