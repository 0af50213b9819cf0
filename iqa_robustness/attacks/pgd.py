"""PGD: iterated gradient signs from random starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Step × steps ÷ epsilon where no step is given: from any start every corner of the ball is reached (Madry et al.).
_REACH = 2.5


@dataclass(frozen=True, kw_only=True)
class PGD(LinfAttack):
    """Steps of `alpha` along the sign of the gradient, each run from a point drawn uniformly from the l∞ ball.

    Source: Madry et al., ICLR 2018, section 2.1; restarts keep the best of all runs.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: `steps` forwards and backwards an image and restart, one forward for each restart's last iterate, and one for
    the best iterate where that is another. Images that reach a target score stop, for one forward more.
    `paper=True` returns the last iterate of the last run.
    Raises: ConfigurationError for fewer than one step or restart, or a step that is not positive.

    alpha: step in units of 1; 2.5 × epsilon ÷ steps unless given.
    """

    name: ClassVar[str] = "pgd"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    alpha: float | None = None
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or not (self.alpha is None or self.alpha > 0):
            raise ConfigurationError(
                f"pgd needs steps >= 1, restarts >= 1 and alpha > 0, got {self.steps}, {self.restarts} and {self.alpha}"
            )
        super().__post_init__()

    def doubled(self) -> PGD:
        """Twice the steps; without a given `alpha` they shrink, and reach every corner again."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb from every start; the last run's last iterate."""
        low, high = self.budget.bounds(images)
        alpha = _REACH * self.epsilon / self.steps if self.alpha is None else self.alpha
        current = images
        for restart in range(self.restarts):
            if restart:  # the template scores the last run's end itself
                objective.values(current)
            noise = streams.uniform(*images.shape[1:]).mul_(2).sub_(1)
            current = noise.mul_(self.epsilon).add_(images).clamp_(0, 1)
            for _ in range(self.steps):
                _, gradients = values_and_gradients(objective, current)
                current = gradients.sign_().mul_(alpha).add_(current).clamp_(low, high)
        return current
