"""What attacks in an l∞ ball share: its radius, three strengths, and the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.projections import Linf


@dataclass(frozen=True, kw_only=True)
class LinfAttack(Attack):
    """Base of the attacks whose images differ from the clean ones by at most `epsilon`: 2, 4 or 8 levels of 255.

    A subclass that checks fields of its own calls `super().__post_init__()`.

    epsilon: in units of 1 (2/255 is weak), after 8-bit rounding.
    Raises: ConfigurationError for an epsilon outside [0, 1].
    """

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
