"""MADC: climb along the level sets of the mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.ascent import climb, inner_products, normalised
from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class MADC(Attack):
    """Steps along the gradient without its component along the gradient of the mean squared error.

    Source: Wang and Simoncelli, Journal of Vision 2008 (maximum differentiation competition), as an attack in the
    benchmark, section 3.2. Its code takes the sign after the projection, which makes the step orthogonal to nothing;
    here the direction keeps its values and is only scaled. `paper=True` takes the sign and returns the last iterate.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding. The published limit of 10/255 on the root
    mean square change is left out: it lies outside every strength's ball.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result.
    Raises: ConfigurationError for fewer than one step or a pace that is not positive.

    Args:
        steps: gradients an image.
        pace: root mean square way of a pixel over all steps, were there no budget, in units of `epsilon`.
    """

    name: ClassVar[str] = "madc"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "linf"
    varied_parameter: ClassVar[str] = "epsilon"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"epsilon": 2 / 255},
        "medium": {"epsilon": 4 / 255},
        "strong": {"epsilon": 8 / 255},
    }

    epsilon: float = 4 / 255
    steps: int = 8
    pace: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.pace > 0:
            raise ConfigurationError(f"madc needs steps >= 1 and pace > 0, got {self.steps} and {self.pace}")
        _ = self.budget  # refuses an impossible epsilon

    @property
    def budget(self) -> Linf:
        """The l∞ ball."""
        return Linf(epsilon=self.epsilon)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic

        def move(current: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            direction = orthogonal(gradients, current - images[rows])
            update = direction.sign() if self.paper else self.pace * normalised(direction)
            return self.budget.project(current + self.epsilon / self.steps * update, images[rows])

        return climb(objective, images, steps=self.steps, move=move)


def orthogonal(gradients: Tensor, changes: Tensor) -> Tensor:
    """Each image's gradient without its component along the change, to which the gradient of the MSE is parallel."""
    along, length = inner_products(gradients, changes), inner_products(changes, changes)
    share = torch.where(length > 0, along / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
    return (gradients.double() - share * changes.double()).to(gradients.dtype)
