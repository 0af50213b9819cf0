"""The worst case over attacks: per image, attributed, and never milder than any of the attacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness.gate.worst_case import Harm, harm_of, worst_cases
from iqa_robustness.measures import mean_interval
from iqa_robustness.store import Record

SUBJECT = ("compact", "none", "nonadaptive", "raise", "strong")


def harm(attack: str, *gains: float, subject: tuple[str, str, str, str, str] = SUBJECT) -> Harm:
    return Harm(
        subject=subject,
        attack=attack,
        gains={f"image-{number}": gain for number, gain in enumerate(gains)},
        contents={f"image-{number}": f"scene-{number // 2}" for number in range(len(gains))},
    )


def test_each_image_has_the_attack_that_gained_most_on_it() -> None:
    (found,) = worst_cases([harm("apgd", 10, 20, 30, 40), harm("square", 12, 5, 33, 1), harm("nes", 0, 0, 0, 0)])
    assert found.subject == SUBJECT
    assert found.gain.value == pytest.approx((12 + 20 + 33 + 40) / 4)
    assert found.attribution == {"apgd": 0.5, "square": 0.5}
    assert found.attributed == "square 50 %, apgd 50 %"
    assert found.images == 4


def test_the_interval_is_that_of_the_per_image_worst_over_contents() -> None:
    (found,) = worst_cases([harm("a", 1, 9, 3, 8, 2, 2), harm("b", 4, 4, 4, 4, 4, 4)])
    assert found.gain == mean_interval([4, 9, 4, 8, 4, 4], [f"scene-{n // 2}" for n in range(6)])


def test_images_that_only_some_attacked_count_with_what_they_saw() -> None:
    (found,) = worst_cases([harm("apgd", 10, 10, 10, 10), harm("square", 50, 0)])
    assert found.gain.value == pytest.approx(80 / 4)
    assert found.attribution == {"apgd": 0.75, "square": 0.25}


def test_one_attack_is_no_worst_case_and_subjects_stay_apart() -> None:
    lower = ("compact", "none", "nonadaptive", "lower", "strong")
    assert worst_cases([harm("apgd", 1, 2), harm("square", 3, 4, subject=lower)]) == []
    found = worst_cases([harm(name, 1, 2, subject=subject) for name in ("a", "b") for subject in (SUBJECT, lower)])
    assert [case.subject for case in found] == sorted([SUBJECT, lower])


@given(gains=hnp.arrays(float, (3, 6), elements=st.floats(-100, 100)))
def test_it_is_no_milder_than_any_attack_and_every_image_has_one(gains: np.ndarray) -> None:
    (found,) = worst_cases([harm(f"attack-{number}", *row) for number, row in enumerate(gains.tolist())])
    assert found.gain.value == pytest.approx(gains.max(axis=0).mean())
    assert found.gain.value >= gains.mean(axis=1).max() - 1e-9
    assert sum(found.attribution.values()) == pytest.approx(1)
    assert [*found.attribution.values()] == sorted(found.attribution.values(), reverse=True)


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("goal", ["raise", "lower"])
def test_a_records_harm_is_the_defended_shift_towards_the_goal(
    make_record: Callable[..., Record], higher: bool, goal: str
) -> None:
    sign = (1 if higher else -1) * (1 if goal == "raise" else -1)
    columns = {"clean": 20.0, "attacked": 0.0, "defended_attacked": 20.0 + 5 * sign}
    record = make_record(higher_is_better=higher, goal=goal, score_range=(0.0, 50.0), **columns)
    record.meta["cell"] |= {"metric": "compact", "defense": "jpeg", "attack": "ifgsm", "strength": "weak"}
    found = harm_of(record)
    assert found is not None
    assert set(found.gains.values()) == {10.0}
    assert found.subject == ("compact", "jpeg", "nonadaptive", goal, "weak")


def test_without_an_attack_there_is_no_harm(make_record: Callable[..., Record]) -> None:
    assert harm_of(make_record(scenario="clean")) is None


def test_images_that_were_left_out_have_no_harm(make_record: Callable[..., Record]) -> None:
    entrant = np.arange(60) < 4
    full, part = (harm_of(found) for found in (make_full(make_record), make_full(make_record, entrant=entrant)))
    assert full is not None
    assert part is not None
    assert part.gains == {f"image-{number}": full.gains[f"image-{number}"] for number in range(4)}
    assert set(part.contents) == set(part.gains)
    assert harm_of(make_full(make_record, entrant=False)) is None


def make_full(make_record: Callable[..., Record], **columns: object) -> Record:
    record = make_record(**columns)
    axes = {"metric": "compact", "defense": "none", "attack": "single-entrant", "strength": "weak"}
    record.meta["cell"] |= axes
    return record


def test_a_transfer_is_no_attack_on_the_pair(make_record: Callable[..., Record]) -> None:
    record = make_record(scenario="transfer")
    record.meta["cell"] |= {"metric": "compact", "defense": "jpeg", "attack": "ifgsm", "strength": "weak"}
    assert harm_of(record) is not None
    record.meta["cell"]["source"] = "compact/flip"
    assert harm_of(record) is None
