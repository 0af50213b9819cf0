"""Adam for a batch in which every image has its own state."""

from __future__ import annotations

import torch
from torch import Tensor

# What torch adds to the root of the second moment: little beside a gradient of 1, much beside a score's, which spreads
# over all pixels and would be damped the more, the larger the image is.
TORCH_EPSILON = 1e-8


class Adam:
    """Adam's directions, for images that may drop out one by one.

    `torch.optim.Adam` updates whole tensors by fused kernels, whose last bit depends on where in the batch a value
    lies; here every operation rounds for itself, so that an image's path does not depend on its companions.

    Source: Kingma and Ba, ICLR 2015, Alg. 1.

    Args:
        like: (N, …), what is optimised; gives shape, dtype and device of the moments.
        betas: decay of the first and the second moment.
        epsilon: added to the root of the second moment, in units of the gradient; `TORCH_EPSILON` is what published
            code has.
    """

    def __init__(self, like: Tensor, *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-16) -> None:
        self.betas, self.epsilon = betas, epsilon
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.steps = 0

    def directions(self, gradients: Tensor, rows: Tensor) -> Tensor:
        """Uphill directions (M, …), to be multiplied by a learning rate; about ±1 where gradients persist.

        Args:
            gradients: (M, …) of the rows' images.
            rows: (M,) int64, those that take this step; an image that missed one must not come back.
        """
        self.steps += 1
        fast, slow = self.betas
        first = self.first[rows] * fast + gradients * (1 - fast)
        second = self.second[rows] * slow + gradients * gradients * (1 - slow)
        self.first[rows], self.second[rows] = first, second
        mean = first / (1 - fast**self.steps)
        deviation = (second / (1 - slow**self.steps)).sqrt()
        return mean / (deviation + self.epsilon)
