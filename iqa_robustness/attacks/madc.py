"""MADC: climb along the level sets of the mean squared error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.ascent import climb, inner_products, normalised
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class MADC(LinfAttack):
    """Climbs along a level set of the mean squared error: a sphere around the clean image.

    The first step leads to the sphere along the gradient; the others go along the gradient without its component
    towards or away from the clean image, and back to the sphere.

    Source: Wang and Simoncelli, Journal of Vision 2008 (maximum differentiation competition), as an attack in the
    benchmark, section 3.2. Its code takes the sign after the projection, which makes the step orthogonal to nothing,
    and never returns to a level; `paper=True` does so and returns the last iterate. The published limit of 10/255 on
    the root mean square change is left out: it lies outside every strength's ball.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding; the published code has none.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result.
    Raises: ConfigurationError for fewer than one step, or a level or stride that is not positive.

    Args:
        steps: gradients an image.
        level: radius of the sphere as a root mean square change, in units of `epsilon`.
        stride: of the steps along it, in radii.
    """

    name: ClassVar[str] = "madc"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 8
    level: float = 0.5
    stride: float = 0.5

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.level > 0 and self.stride > 0):
            raise ConfigurationError(
                f"madc needs steps >= 1, level > 0 and stride > 0, got {self.steps}, {self.level} and {self.stride}"
            )
        super().__post_init__()

    def doubled(self) -> MADC:
        """Twice the turns, each as wide."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        radius = self.level * self.epsilon

        def move(current: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            clean = images[rows]
            change = current - clean
            direction = orthogonal(gradients, change)
            if self.paper:
                return self.budget.project(current + self.epsilon / self.steps * direction.sign(), clean)
            moved = change + self.stride * radius * normalised(direction)
            return self.budget.project(clean + radius * normalised(moved), clean)

        return climb(objective, images, steps=self.steps, move=move)


def orthogonal(gradients: Tensor, changes: Tensor) -> Tensor:
    """Each image's gradient without its component along the change, to which the gradient of the MSE is parallel."""
    along, length = inner_products(gradients, changes), inner_products(changes, changes)
    share = torch.where(length > 0, along / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
    return (gradients.double() - share * changes.double()).to(gradients.dtype)
