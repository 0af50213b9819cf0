"""What attacks in an l∞ ball share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.streams import Streams

KINDS = [type(attacks.create(entry.name)) for entry in attacks.list() if attacks.available(entry.name)]


@dataclass(frozen=True, kw_only=True)
class Brighter(LinfAttack):
    """Raises every value by far more than any budget allows."""

    name: ClassVar[str] = "brighter"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"

    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError("brighter needs steps >= 1")
        super().__post_init__()

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        del streams
        objective.values(images + 1)
        return images + 1


@pytest.mark.parametrize(("strength", "levels"), [("weak", 2), ("medium", 4), ("strong", 8)])
def test_strengths_are_levels_of_255_and_the_default_is_medium(strength: str, levels: int) -> None:
    assert Brighter.strengths[strength] == {"epsilon": levels / 255}
    assert Brighter(epsilon=levels / 255).budget == Linf(epsilon=levels / 255)
    assert Brighter().epsilon == 4 / 255
    assert (Brighter.restriction, Brighter.varied_parameter) == ("linf", "epsilon")


@pytest.mark.parametrize("epsilon", [-1 / 255, 1.01, 4.0, float("nan")])
def test_an_impossible_epsilon_is_refused_also_by_those_with_checks_of_their_own(epsilon: float) -> None:
    with pytest.raises(ConfigurationError, match="epsilon must lie in"):
        Brighter(epsilon=epsilon)
    for kind in KINDS:
        if issubclass(kind, LinfAttack):
            with pytest.raises(ConfigurationError, match="epsilon"):  # ssah, which divides by it, says so itself
                kind(epsilon=epsilon)


def test_checks_of_a_subclass_come_first() -> None:
    with pytest.raises(ConfigurationError, match="steps >= 1"):
        Brighter(steps=0, epsilon=4.0)


@given(st.integers(0, 255))
def test_whatever_it_asks_for_the_change_is_the_whole_radius_at_most(levels: int) -> None:
    clean = torch.full((1, 3, 16, 16), 100 / 255)
    result = Brighter(epsilon=levels / 255)(Vulnerable(), clean)
    change = (result.images - clean).mul(255).round()
    assert change.min() >= 0
    assert change.max() in (0, min(levels, 155))  # nothing where that does not gain


def test_every_registered_attack_with_these_strengths_shares_them() -> None:
    """Another copy of the declaration would be free to drift."""
    alike = [kind for kind in KINDS if kind.strengths == LinfAttack.strengths]
    assert len(alike) > 10
    assert [kind.__name__ for kind in alike if kind.strengths is not LinfAttack.strengths] == []
