"""Attacks beside each other: which pairs are compared, when the alarm goes off, and how often it does for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iqa_robustness.gate.comparisons import (
    FALSE_ALARM,
    MARGIN,
    Attempt,
    attempt_of,
    compared,
    holm,
    suspicions,
)
from iqa_robustness.store import Record

IMAGES, CONTENTS = 24, 12


def attempt(gains: float | np.ndarray = 10.0, **facts: Any) -> Attempt:
    known: dict[str, Any] = {
        "target": ("nonadaptive", "raise", "compact", ""),
        "attack": "ifgsm",
        "strength": "medium",
        "access": "white-box",
        "restriction": "linf",
        "limit": 4 / 255,
    } | facts
    values = np.broadcast_to(np.asarray(gains, float), (known.pop("images", IMAGES),))
    return Attempt(
        gains={f"image-{number}": float(gain) for number, gain in enumerate(values)},
        contents={f"image-{number}": f"scene-{number % CONTENTS}" for number in range(len(values))},
        **known,
    )


def spread(centre: float, *, seed: int = 0, images: int = IMAGES, deviation: float = 2.0) -> np.ndarray:
    return centre + deviation * np.random.RandomState(seed).standard_normal(images)


def queries(gains: float | np.ndarray, **facts: Any) -> Attempt:
    return attempt(gains, **{"attack": "square", "access": "black-box", **facts})


# --- which pairs ----------------------------------------------------------------------------------------------------


def names(pairs: list[tuple[Attempt, Attempt]]) -> set[tuple[str, str, str, str]]:
    return {(a.attack, a.strength, b.attack, b.strength) for a, b in pairs}


def test_more_budget_is_compared_with_less_and_gradients_with_queries_at_the_same_strength() -> None:
    found = compared(
        [
            attempt(strength="weak", limit=2 / 255),
            attempt(),
            queries(5, strength="weak", limit=2 / 255),
            queries(5),
        ]
    )
    assert names(found) == {
        ("ifgsm", "medium", "ifgsm", "weak"),
        ("square", "medium", "square", "weak"),
        ("ifgsm", "weak", "square", "weak"),
        ("ifgsm", "medium", "square", "medium"),
    }


@pytest.mark.parametrize(
    "facts",
    [
        {"target": ("nonadaptive", "lower", "compact", "")},
        {"target": ("adaptive", "raise", "compact", "jpeg")},
        {"restriction": "l0"},
        {"limit": 8 / 255},
        {"strength": "weak"},
        {"access": "white-box"},
    ],
)
def test_what_is_no_weaker_adversary_is_not_compared(facts: dict[str, Any]) -> None:
    assert compared([attempt(), queries(50, **facts)]) == []


# --- the alarm ------------------------------------------------------------------------------------------------------


def test_queries_that_gain_more_than_gradients_raise_the_alarm() -> None:
    (found,) = suspicions([attempt(spread(10)), queries(spread(18, seed=1))])
    assert (found.suspect.attack, found.better.attack) == ("ifgsm", "square")
    assert found.lead == pytest.approx(8, abs=1.5)
    assert found.p <= FALSE_ALARM
    assert "square, which sees scores only, gains" in str(found)
    assert "more than ifgsm at medium" in str(found)


def test_less_budget_that_gains_more_raises_the_alarm() -> None:
    (found,) = suspicions([attempt(spread(20), strength="weak", limit=2 / 255), attempt(spread(12, seed=1))])
    assert (found.suspect.strength, found.better.strength) == ("medium", "weak")
    assert "the same attack at weak gains" in str(found)


def test_the_attempt_farthest_ahead_is_named() -> None:
    attempts = [
        attempt(spread(5, seed=seed), strength=strength, limit=limit)
        for seed, (strength, limit) in enumerate([("strong", 8 / 255)])
    ]
    attempts += [
        attempt(spread(20, seed=2), limit=4 / 255),
        attempt(spread(30, seed=3), strength="weak", limit=2 / 255),
    ]
    found = {s.suspect.strength: s.better.strength for s in suspicions(attempts)}
    assert found == {"strong": "weak", "medium": "weak"}


@pytest.mark.parametrize("lead", [-30.0, 0.0, 0.5 * MARGIN, MARGIN])
def test_a_lead_within_the_margin_is_none(lead: float) -> None:
    gains = spread(20)
    assert suspicions([attempt(gains), queries(gains + lead)]) == []


def test_an_equal_lead_on_every_image_is_certain() -> None:
    (found,) = suspicions([attempt(10.0), queries(12.0)])
    assert (found.lead, found.p) == (pytest.approx(2.0), 0.0)


def test_only_common_images_count() -> None:
    few = queries(spread(40, images=6), images=6)
    (found,) = suspicions([attempt(np.r_[spread(10, images=6), [500.0] * 18]), few])
    assert found.lead == pytest.approx(30, abs=5)
    assert suspicions([attempt(spread(10, images=2), images=2), queries(spread(90))]) == []


def test_the_p_value_is_the_paired_t_test_of_contents_against_the_margin() -> None:
    ours, theirs = spread(10), spread(14, seed=1)
    (found,) = suspicions([attempt(ours), queries(theirs)])
    leads = (theirs - ours).reshape(2, CONTENTS).mean(axis=0)
    assert found.p == pytest.approx(stats.ttest_1samp(leads, MARGIN, alternative="greater").pvalue)


# --- many comparisons -----------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holms_adjustment_is_ordered_bounded_and_no_milder_than_none(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(
        p <= a <= min(1.0, max(p_values) * len(p_values) + 1e-12) for p, a in zip(p_values, adjusted, strict=True)
    )
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)


def test_holms_adjustment_of_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_alarm_is_rare_in_a_run_in_order() -> None:
    """The worst orderly run: every pair exactly at the margin, shifts as skewed as score shifts are, ten contents."""
    random, runs, alarms = np.random.RandomState(0), 1000, 0
    for _ in range(runs):
        attempts = []
        for metric in range(7):
            base = 20 * random.gamma(2, 0.5, 20)
            noise = random.standard_normal(20) * 3
            target = ("nonadaptive", "raise", f"metric-{metric}", "")
            attempts += [
                attempt(base, images=20, target=target),
                queries(base + MARGIN + noise, images=20, target=target),
            ]
        alarms += bool(suspicions(attempts))
    # 1 % of 1,000 runs is 10; 20 and more would have a chance of 0.3 %.
    assert alarms < 20


# --- from records ---------------------------------------------------------------------------------------------------


def record_of(make_record: Callable[..., Record], **facts: Any) -> Record:
    cell = {"metric": "compact", "defense": "jpeg", "attack": "ifgsm", "strength": "weak"}
    record = make_record(**facts)
    record.meta["cell"] |= cell
    if "attack" in record.meta:
        record.meta["attack"] |= {"restriction": "linf", "limit": 2 / 255}
    return record


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("goal", ["raise", "lower"])
def test_gains_are_towards_the_attackers_goal_in_per_cent_of_the_range(
    make_record: Callable[..., Record], higher: bool, goal: str
) -> None:
    sign = (1 if higher else -1) * (1 if goal == "raise" else -1)
    record = record_of(
        make_record,
        higher_is_better=higher,
        goal=goal,
        score_range=(0.0, 50.0),
        clean=20.0,
        attacked=20.0 + 5 * sign,
        defended_attacked=0.0,
    )
    found = attempt_of(record)
    assert found is not None
    assert set(found.gains.values()) == {10.0}
    assert found.target == ("nonadaptive", goal, "compact", "")
    assert (found.access, found.restriction, found.limit) == ("white-box", "linf", 2 / 255)
    assert found.contents["image-21"] == "scene-1"


def test_an_adaptive_attack_gains_on_the_defended_metric(make_record: Callable[..., Record]) -> None:
    # The judged images may be another attack's: they say nothing of this one.
    record = record_of(
        make_record,
        scenario="adaptive",
        defended_clean=10.0,
        defended_adaptive=13.0,
        defended_attacked=99.0,
        attacked=99.0,
    )
    found = attempt_of(record)
    assert found is not None
    assert set(found.gains.values()) == {3.0}
    assert found.target == ("adaptive", "raise", "compact", "jpeg")


@pytest.mark.parametrize("scenario", ["clean", "certified"])
def test_what_attacked_nothing_of_its_own_is_no_attempt(make_record: Callable[..., Record], scenario: str) -> None:
    assert attempt_of(record_of(make_record, scenario=scenario, kind="certified")) is None


def test_images_that_were_left_out_are_compared_with_nobody(make_record: Callable[..., Record]) -> None:
    entrant = np.arange(60) % 10 == 3
    found = attempt_of(record_of(make_record, clean=20.0, attacked=np.where(entrant, 30.0, 20.0), entrant=entrant))
    assert found is not None
    assert found.gains == {f"image-{number}": 10.0 for number in range(3, 60, 10)}
    assert set(found.contents) == set(found.gains)


def test_an_attack_that_gives_gain_away_to_outlast_an_encoder_is_not_held_to_one_that_does_not(
    make_record: Callable[..., Record],
) -> None:
    record = record_of(make_record)
    plain = attempt_of(record)
    record.meta["attack"]["encoders"] = ["lossless", "jpeg", "resize"]
    codec = attempt_of(record)
    assert plain is not None
    assert codec is not None
    assert (plain.direct, codec.direct) == (True, False)
    assert suspicions([attempt(spread(5)), queries(spread(30))])
    assert not suspicions([attempt(spread(5), attack="codec", direct=False), queries(spread(30))])
    # Its own strengths still have to be in order.
    weak, strong = (attempt(spread(gain), strength=s, direct=False) for s, gain in (("weak", 30), ("strong", 5)))
    assert suspicions([weak, strong])
