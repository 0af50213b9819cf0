"""FGSM: one step along the sign of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class FGSM(LinfAttack):
    """One step of `epsilon` along the sign of the gradient at the clean image.

    Source: Goodfellow et al., ICLR 2015, section 4; `std-fgsm` of the benchmark's list.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: one forward and one backward an image, and one forward to score the rounded result.
    `paper=True` returns the step even where it lowers the objective, as the published code does.
    Raises: ConfigurationError for an epsilon outside [0, 1].
    """

    name: ClassVar[str] = "fgsm"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Take the step."""
        del streams  # the attack is deterministic
        _, gradients = objective.values_and_gradients(images)
        return gradients.sign_().mul_(self.epsilon).add_(images).clamp_(0, 1)
