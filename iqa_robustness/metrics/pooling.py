"""Pooling of feature maps to the statistics that the bundled metrics judge by."""

from __future__ import annotations

import torch
from torch import Tensor

# Under the root, so that the gradient of a constant map is zero and not infinite.
_VARIANCE_FLOOR = 1e-6


def mean_and_deviation(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 2 C): each channel's mean over space, then each one's standard deviation (at least 0.001).

    Differentiable everywhere, on constant maps too.
    """
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0)
    return torch.cat([mean, (variance + _VARIANCE_FLOOR).sqrt()], dim=1)


def mean_and_deviation_channels(channels: int) -> int:
    """The number of statistics that `mean_and_deviation` makes of so many channels."""
    return 2 * channels
