"""Korhonen and You: a perturbation that hides where the image is busy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam
from iqa_robustness.attacks.ascent import climb
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Korhonen(LinfAttack):
    """Adam on the pixels, each step multiplied by the spatial activity of the clean image.

    Source: Korhonen and You, QoEVMA 2022, and the authors' MATLAB code. There the gradient is multiplied by the
    activity before Adam, which divides it out again, and the activity is the squared Sobel magnitude; here the step is
    multiplied, by the magnitude. The benchmark's code takes the signed derivative along one axis, which turns the
    direction around where it is negative (section 3.2): `paper=True`, with the last iterate.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding; the published code does not project.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result.
    Raises: ConfigurationError for fewer than one step or a pace that is not positive.

    Args:
        steps: gradients an image.
        pace: the way of a pixel with full activity, were there no budget, in units of `epsilon`; 1 with `paper=True`.
    """

    name: ClassVar[str] = "korhonen"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    pace: float = 4.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.pace > 0:
            raise ConfigurationError(f"korhonen needs steps >= 1 and pace > 0, got {self.steps} and {self.pace}")
        super().__post_init__()

    def doubled(self) -> Korhonen:
        """Twice the steps, each as long."""
        return replace(self, steps=2 * self.steps, pace=2 * self.pace)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        adam = Adam(images, epsilon=TORCH_EPSILON) if self.paper else Adam(images)
        activity = signed_activity(images) if self.paper else spatial_activity(images)
        rate = self.epsilon * (1.0 if self.paper else self.pace) / self.steps

        def move(current: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            if self.paper:
                update = adam.directions(gradients * activity[rows], rows)
            else:
                update = adam.directions(gradients, rows) * activity[rows]
            return self.budget.project(current + rate * update, images[rows])

        return climb(objective, images, steps=self.steps, move=move)


def spatial_activity(images: Tensor) -> Tensor:
    """Sobel magnitude of luma, spread over its surroundings, in units of the image's largest; 1 on a flat image.

    (N, 3, H, W) to (N, 1, H, W), values 0 to 1. The outermost pixels have what their neighbours spread.
    """
    across, down = _derivative(_luma(images), axis=3), _derivative(_luma(images), axis=2)
    return _spread((across.square() + down.square()).sqrt())


def signed_activity(images: Tensor) -> Tensor:
    """What the benchmark's code calls activity: the derivative along the rows with its sign, spread, ÷ 255."""
    return _spread(_derivative(_luma(images), axis=3)) / 255


def _luma(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    luma: Tensor = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return luma


def _derivative(luma: Tensor, *, axis: int) -> Tensor:
    """Sobel's derivative, zero on the outermost pixels. (N, 1, H, W) to the same shape."""
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    result = torch.zeros_like(luma)
    if 0 in luma[inner].shape:
        return result
    other = 5 - axis
    length = luma.shape[other]
    before, centre, after = (luma.narrow(other, start, length - 2) for start in range(3))
    smooth = before + 2 * centre + after
    length = smooth.shape[axis]
    result[inner] = smooth.narrow(axis, 2, length - 2) - smooth.narrow(axis, 0, length - 2)
    return result


def _spread(activity: Tensor) -> Tensor:
    """Divide by the image's maximum, then take maxima over 5 × 5 pixels without the corners."""
    peak = activity.amax(dim=(1, 2, 3), keepdim=True)
    relative = torch.where(peak > 0, activity / peak.clamp(min=torch.finfo(peak.dtype).tiny), 1.0)
    tall = F.max_pool2d(relative, (5, 3), stride=1, padding=(2, 1))
    wide = F.max_pool2d(relative, (3, 5), stride=1, padding=(1, 2))
    return torch.maximum(tall, wide)
