"""FGSM: one step along the sign of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
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
    restriction: ClassVar[str] = "linf"
    varied_parameter: ClassVar[str] = "epsilon"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"epsilon": 2 / 255},
        "medium": {"epsilon": 4 / 255},
        "strong": {"epsilon": 8 / 255},
    }

    epsilon: float = 4 / 255

    def __post_init__(self) -> None:
        _ = self.budget  # refuses an impossible epsilon

    @property
    def budget(self) -> Linf:
        """The l∞ ball."""
        return Linf(epsilon=self.epsilon)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Take the step."""
        del streams  # the attack is deterministic
        _, gradients = objective.values_and_gradients(images)
        return gradients.sign_().mul_(self.epsilon).add_(images).clamp_(0, 1)
