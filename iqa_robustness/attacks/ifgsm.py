"""I-FGSM: iterated gradient signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# The published code's bound; at its strengths it never binds.
_LARGEST_EPSILON = 10 / 255
# Of the ball's radius, the step of a doubled attack: twenty such steps find behind JPEG what forty of a tenth do.
_LONGER_STEP = 0.25


@dataclass(frozen=True, kw_only=True)
class IFGSM(Attack):
    """Steps of `alpha` along the sign of the gradient, from the clean image, inside an l∞ ball.

    Source: Kurakin et al., ICLR 2017 workshop; benchmark section 3.2. The published strengths are aligned so that
    steps × alpha is 2, 4 and 8 levels of 255; its strong one overshoots to 8.32, here it is 8.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1, l∞, after 8-bit rounding; steps × alpha (at most 10/255) unless given.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result. Images that
    reach a target score stop, for one forward more.
    `paper=True` returns the last iterate and bounds by 10/255, as the published code does.
    Raises: ConfigurationError for fewer than one step or a step that is not positive.
    """

    name: ClassVar[str] = "ifgsm"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "linf"
    varied_parameter: ClassVar[str] = "alpha"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"alpha": 0.2 / 255},
        "medium": {"alpha": 0.4 / 255},
        "strong": {"alpha": 0.8 / 255},
    }

    alpha: float = 0.4 / 255
    steps: int = 10
    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.alpha > 0:
            raise ConfigurationError(f"ifgsm needs steps >= 1 and alpha > 0, got {self.steps} and {self.alpha}")
        _ = self.budget  # refuses an impossible epsilon

    @property
    def budget(self) -> Linf:
        """The l∞ ball."""
        if self.epsilon is not None:
            return Linf(epsilon=self.epsilon)
        return Linf(epsilon=_LARGEST_EPSILON if self.paper else min(self.steps * self.alpha, _LARGEST_EPSILON))

    def doubled(self) -> IFGSM:
        """Twice the steps in the same ball, each as long, at least a quarter of its radius."""
        radius = self.budget.limit
        return replace(self, steps=2 * self.steps, alpha=max(self.alpha, _LONGER_STEP * radius), epsilon=radius)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        low, high = self.budget.bounds(images)
        current = images
        for _ in range(self.steps):
            _, gradients = values_and_gradients(objective, current)
            current = gradients.sign_().mul_(self.alpha).add_(current).clamp_(low, high)
        return current
