"""Adam's update of a batch. `torch.optim` would do, but importing its compiler costs every worker seconds."""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """Moving averages of gradients and their squares, and the step they give.

    Source: Kingma and Ba, ICLR 2015, Alg. 1; equal to `torch.optim.Adam` up to rounding.

    Args:
        like: a tensor of the gradients' shape, dtype and device.
        rate: step size, in the units of what is stepped.
    """

    def __init__(self, like: Tensor, rate: float, *, decays: tuple[float, float] = (0.9, 0.999)) -> None:
        self.rate, self.decays = rate, decays
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)
        self.count = 0

    def step(self, gradients: Tensor) -> Tensor:
        """What to add in order to climb, a new tensor of the gradients' shape."""
        first, second = self.decays
        self.count += 1
        self.mean.lerp_(gradients, 1 - first)
        self.square.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        scale = self.square.div(1 - second**self.count).sqrt_().add_(1e-8)
        return torch.div(self.mean, scale, out=scale).mul_(self.rate / (1 - first**self.count))
