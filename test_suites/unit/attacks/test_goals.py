"""What attackers want: signs and units of the values, and where an image is finished."""

from __future__ import annotations

import pytest
import torch

from iqa_robustness.attacks.objectives import LOWER, RAISE, Shift, Towards
from iqa_robustness.metrics.base import MetricSpec

BETTER = MetricSpec(name="up", score_range=(10.0, 60.0))
WORSE = MetricSpec(name="down", score_range=(-1.0, 3.0), higher_is_better=False)


@pytest.mark.parametrize(
    ("goal", "spec", "expected"),
    [
        (RAISE, BETTER, [20 / 50, 30 / 50]),
        (LOWER, BETTER, [-20 / 50, -30 / 50]),
        (RAISE, WORSE, [-20 / 4, -30 / 4]),
        (LOWER, WORSE, [20 / 4, 30 / 4]),
        (Towards(score=24.0), BETTER, [-4 / 50, -6 / 50]),
        (Towards(score=24.0), WORSE, [-4 / 4, -6 / 4]),
    ],
)
def test_values_are_what_the_attacker_wants_in_units_of_the_range(
    goal: object, spec: MetricSpec, expected: list
) -> None:
    assert goal.values(torch.tensor([20.0, 30.0]), spec).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spec", [BETTER, WORSE])
def test_raising_and_lowering_are_exact_opposites(spec: MetricSpec) -> None:
    scores = torch.linspace(-50, 50, 11)
    assert torch.equal(RAISE.values(scores, spec), -LOWER.values(scores, spec))
    assert Shift() == RAISE


def test_a_shift_is_never_finished_and_a_target_is_within_its_tolerance() -> None:
    values = torch.tensor([-0.011, -0.01, -0.002, 0.0])
    assert not RAISE.reached(values).any()
    assert Towards(score=1.0, tolerance=0.01).reached(values).tolist() == [False, True, True, True]
