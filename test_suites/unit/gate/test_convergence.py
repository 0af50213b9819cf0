"""Convergence: a gain that doubling moves by more than a twentieth, beyond chance, makes the cell invalid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.convergence import LEAST_CHANGE, SHARE, convergence_reasons
from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]
GAINS = (30.0, 42.0, 25.0, 51.0, 38.0, 44.0)


def doubling(gains: Sequence[float], doubled: Sequence[float], **more: Any) -> dict[str, Any]:
    contents = [f"scene-{number}" for number in range(len(gains))]
    usual = {"what": "steps", "wants": "steps 20 instead of 10", "entry": "ab" * 32}
    return {**usual, "gains": [*gains], "doubled": [*doubled], "contents": contents, **more}


def record_with(make_record: MakeRecord, *entries: dict[str, Any]) -> Record:
    record = make_record(scenario="adaptive")
    record.meta["convergence"] = [*entries]
    return record


def test_the_tolerance_is_that_of_the_benchmark() -> None:
    assert (SHARE, LEAST_CHANGE) == (0.05, 0.5)


@pytest.mark.parametrize(("factor", "valid"), [(0.7, True), (1.0, True), (1.04, True), (1.12, False), (2.0, False)])
def test_a_gain_may_grow_by_a_twentieth_and_may_shrink(factor: float, valid: bool, make_record: MakeRecord) -> None:
    record = record_with(make_record, doubling(GAINS, [factor * gain for gain in GAINS]))
    reasons = convergence_reasons(record)
    assert (reasons == []) is valid
    assert invalid_reasons(record) == reasons


def test_it_says_what_changed_and_which_budget_it_wants(make_record: MakeRecord) -> None:
    steps = doubling(GAINS, [1.5 * gain for gain in GAINS])
    draws = {**doubling(GAINS, [1.4 * gain for gain in GAINS]), "what": "draws", "wants": "eot-4 instead of eot-2"}
    first, second = convergence_reasons(record_with(make_record, steps, draws))
    assert first == (
        "the attack had not converged: with twice the steps it gains 57.5 % of the range instead of 38.3 %; "
        "it wants steps 20 instead of 10 (--iqa-doublings)"
    )
    assert second.endswith("it wants eot-4 instead of eot-2 (--iqa-draws)")


def test_a_twentieth_of_next_to_nothing_is_no_change(make_record: MakeRecord) -> None:
    small = [0.1, 0.2, 0.15, 0.12, 0.18, 0.11]
    assert convergence_reasons(record_with(make_record, doubling(small, [3 * gain for gain in small]))) == []
    grown = [gain + 0.8 + 0.01 * n for n, gain in enumerate(small)]
    assert len(convergence_reasons(record_with(make_record, doubling(small, grown)))) == 1


def test_an_attack_that_gained_nothing_and_would_have_is_invalid(make_record: MakeRecord) -> None:
    assert len(convergence_reasons(record_with(make_record, doubling([0.0] * 6, [9.0, 8, 10, 9, 8, 9])))) == 1


def test_chance_is_no_change(make_record: MakeRecord) -> None:
    one_image = [GAINS[0] + 60, *GAINS[1:]]
    assert np.mean(one_image) > 1.2 * np.mean(GAINS)
    assert convergence_reasons(record_with(make_record, doubling(GAINS, one_image))) == []


def test_false_alarms_are_as_rare_as_stated(make_record: MakeRecord) -> None:
    random, alarms = np.random.RandomState(0), 0
    for _ in range(400):
        gains = random.normal(40, 8, 6)
        # The gain grows by just what is allowed, under noise of a twelfth of the range.
        doubled = gains + SHARE * gains.mean() + random.normal(0, 8, 6)
        alarms += bool(convergence_reasons(record_with(make_record, doubling(gains, doubled))))
    assert alarms <= 11  # of 4 expected; chance of more: 0.1 %


def test_a_change_of_a_tenth_is_found_under_little_noise(make_record: MakeRecord) -> None:
    random, found = np.random.RandomState(1), 0
    for _ in range(100):
        gains = random.normal(40, 5, 6)
        doubled = 1.15 * gains + random.normal(0, 1, 6)
        found += bool(convergence_reasons(record_with(make_record, doubling(gains, doubled))))
    assert found >= 90


def test_two_contents_can_show_nothing(make_record: MakeRecord) -> None:
    assert convergence_reasons(record_with(make_record, doubling([30.0, 40.0], [60.0, 80.0]))) == []


def test_records_of_other_scenarios_have_nothing_to_double(make_record: MakeRecord) -> None:
    assert convergence_reasons(make_record()) == []
