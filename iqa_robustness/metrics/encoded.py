"""A metric that is shown images after an encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from iqa_robustness.encoders import Encoder
from iqa_robustness.metrics.base import Metric


class EncodedMetric(Metric):
    """f(E(x)): the scores of what an encoder leaves; gradients pass through its surrogate.

    A full-reference metric compares with the reference as it is. The spec is the metric's own.

    Args:
        metric: that judges.
        encoder: what its images go through.
    """

    def __init__(self, metric: Metric, encoder: Encoder) -> None:
        super().__init__()
        self.metric = metric
        self.encoder = encoder
        self.spec = metric.spec
        self.training = metric.training

    def forward(self, images: Tensor, **arguments: Any) -> Tensor:
        """(N, 3, H, W) to (N,); arguments are the metric's own."""
        scores: Tensor = self.metric(self.encoder.through(images), **arguments)
        return scores
