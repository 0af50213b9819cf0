"""The last step of the bundled metrics: standardised statistics in, one score out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScoreHead(nn.Module):
    """score = output(hidden((statistics − center) · scale)), with one ReLU layer or none between.

    Statistics: (N, features). Returns (N,), in score units; not clamped, so that no gradient is masked.
    """

    def __init__(self, features: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.center = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(features))
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.output = nn.Linear(hidden or features, 1)

    def forward(self, statistics: Tensor) -> Tensor:
        """(N, features) to (N,)."""
        standard = (statistics - self.center) * self.scale
        if self.hidden is not None:
            standard = F.relu(self.hidden(standard))
        scores: Tensor = self.output(standard)
        return scores.squeeze(1)
