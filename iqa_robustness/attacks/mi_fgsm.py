"""MI-FGSM: iterated gradient signs with momentum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class MIFGSM(LinfAttack):
    """Steps along the sign of accumulated gradients: each is divided by its l1 norm, and older ones decay.

    Source: Dong et al., CVPR 2018, Alg. 1 (10 steps of epsilon ÷ steps, decay 1). The benchmark's code adds up
    gradients as they are, so that the steps where the slope is steep outweigh the others; `paper=True` does that and
    returns the last iterate.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result. Images that
    reach a target score stop, for one forward more.
    Raises: ConfigurationError for fewer than one step, a step that is not positive, or a negative decay.
    """

    name: ClassVar[str] = "mi-fgsm"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    alpha: float | None = None
    decay: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.alpha is None or self.alpha > 0) or not self.decay >= 0:
            raise ConfigurationError(
                f"mi-fgsm needs steps >= 1, alpha > 0 and decay >= 0, got {self.steps}, {self.alpha} and {self.decay}"
            )
        super().__post_init__()

    def doubled(self) -> MIFGSM:
        """Twice the steps, each as long."""
        return replace(self, steps=2 * self.steps, alpha=self.alpha or self.epsilon / self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        low, high = self.budget.bounds(images)
        alpha = self.epsilon / self.steps if self.alpha is None else self.alpha
        current, momentum = images, torch.zeros_like(images)
        for _ in range(self.steps):
            _, gradients = values_and_gradients(objective, current)
            if not self.paper:
                gradients.div_(_length(gradients))
            momentum = momentum.mul_(self.decay).add_(gradients)
            current = torch.sign(momentum, out=gradients).mul_(alpha).add_(current).clamp_(low, high)
        return current


def _length(gradients: Tensor) -> Tensor:
    """The l1 norm of each image's gradient, (N, 1, 1, 1); of a zero gradient the smallest positive number."""
    return gradients.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_(min=torch.finfo(gradients.dtype).tiny)
