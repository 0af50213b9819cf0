"""Validity: each reason why an attack does not count, one at a time, and that a robust metric gives none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from iqa_robustness.gate.validity import PROOF_GAIN, invalid_reasons
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]


def share(count: int, of: int = 60) -> np.ndarray:
    """True for the first `count` images."""
    return np.arange(of) < count


@pytest.mark.parametrize("access", ["white-box", "black-box"])
@pytest.mark.parametrize("goal", ["raise", "lower"])
@pytest.mark.parametrize("higher", [True, False], ids=["higher", "lower"])
def test_a_working_attack_on_a_robust_metric_counts(
    access: str, goal: str, higher: bool, make_record: MakeRecord
) -> None:
    assert invalid_reasons(make_record(attack_access=access, goal=goal, higher_is_better=higher)) == []


def test_without_an_attack_nothing_can_be_invalid(make_record: MakeRecord) -> None:
    assert invalid_reasons(make_record(scenario="clean", gradient_nonzero=False, placebo=math.nan)) == []


@pytest.mark.parametrize(
    ("restriction", "limit", "inside", "outside"),
    [
        ("linf", 2 / 255, {"linf": 2 / 255}, {"linf": 3 / 255}),
        ("l2", 1.5, {"l2": 1.5}, {"l2": 1.51}),
        ("ssim", 0.1, {"ssim": 0.9}, {"ssim": 0.895}),
        ("psnr", 0.01, {"psnr": 40.0}, {"psnr": 39.9}),
    ],
)
def test_images_outside_of_the_budget_make_it_invalid(
    restriction: str, limit: float, inside: dict[str, float], outside: dict[str, float], make_record: MakeRecord
) -> None:
    facts = {"restriction": restriction, "limit": limit}
    assert invalid_reasons(make_record(**facts, **inside)) == []
    (column,) = inside
    values = np.where(share(6), outside[column], inside[column])
    (reason,) = invalid_reasons(make_record(**facts, **{column: values}))
    assert reason.startswith("10% of the adversarial images are outside the budget")
    assert invalid_reasons(make_record(**facts, psnr=math.inf, linf=0.0, l2=0.0, ssim=1.0)) == []


def test_a_budget_of_pixels_is_the_attacks_own_business(make_record: MakeRecord) -> None:
    assert invalid_reasons(make_record(restriction="l0", limit=10.0, linf=1.0)) == []


def test_the_judged_images_of_an_adaptive_cell_are_held_to_the_budget_of_whoever_made_them(
    make_record: MakeRecord,
) -> None:
    queried = share(12)
    sources = np.where(queried, "queried", "adaptive")
    own, other = {"restriction": "ssim", "limit": 0.1}, {"restriction": "linf", "limit": 4 / 255}
    facts = {"scenario": "adaptive", "worst_source": sources, **own, "ssim": np.where(queried, 0.5, 0.95)}
    for level, valid in ((4, True), (5, False)):
        record = make_record(**facts, linf=np.where(queried, level, 90) / 255)
        record.meta["sources"] = {"adaptive": own, "queried": other}
        reasons = invalid_reasons(record)
        assert (reasons == []) is valid
        assert valid or reasons[0].startswith("20% of the adversarial images are outside the budget: 0.019608 in l∞")


# --- the proof ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param((0.0,) * 8, id="no gain"),
        pytest.param((0.9,) * 8, id="too small"),
        pytest.param((-40.0,) * 8, id="the wrong way"),
        pytest.param((PROOF_GAIN,) * 8, id="just the limit"),
        pytest.param((50.0, -40.0, 60.0, -30.0, 55.0, -45.0, 40.0, -20.0), id="uncertain"),
        pytest.param((40.0,), id="one image"),
        pytest.param((40.0, 20.0), id="two images"),
        pytest.param((math.nan, math.nan), id="NaN"),
        pytest.param((), id="none"),
    ],
)
def test_an_attack_that_does_not_move_the_vulnerable_metric_is_invalid(
    proof: tuple[float, ...], make_record: MakeRecord
) -> None:
    (reason,) = invalid_reasons(make_record(proof=proof))
    assert "planted vulnerable metric" in reason
    assert "at least 1 %" in reason


@pytest.mark.parametrize("proof", [(30.0, 45.0, 38.0, 41.0), (1.2, 1.25, 1.15, 1.2, 1.22, 1.18), (5.0, 5.0)])
def test_a_sure_gain_on_a_few_images_is_proof(proof: tuple[float, ...], make_record: MakeRecord) -> None:
    assert invalid_reasons(make_record(proof=proof)) == []


# --- gradients ------------------------------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_is_invalid_on_a_single_image(make_record: MakeRecord) -> None:
    (reason,) = invalid_reasons(make_record(gradient_finite=~share(1)))
    assert reason == "gradients were not finite on 2% of the images"


@pytest.mark.parametrize(("zero", "valid"), [(6, True), (7, False), (60, False)])
def test_zero_gradients_are_invalid_on_more_than_a_tenth_of_the_images(
    zero: int, valid: bool, make_record: MakeRecord
) -> None:
    reasons = invalid_reasons(make_record(gradient_nonzero=~share(zero)))
    assert (reasons == []) == valid
    assert valid or reasons == [f"gradients were zero on {zero / 60:.0%} of the images"]


@pytest.mark.parametrize(
    ("trace", "valid"),
    [
        ((), True),  # query attacks
        ((0.5,), True),  # one step: nothing to compare
        ((0.5, 0.6), True),
        ((0.5, 0.4, 0.6, 0.1), True),
        ((0.5, 0.5, 0.5), False),
        ((0.5, 0.4, 0.3), False),
        ((0.5, math.nan), False),
    ],
    ids=str,
)
def test_an_objective_that_did_not_rise_is_invalid(
    trace: tuple[float, ...], valid: bool, make_record: MakeRecord
) -> None:
    reasons = invalid_reasons(make_record(trace=trace))
    assert reasons == ([] if valid else ["the objective did not rise over the attack's steps"])


def test_gradients_of_query_attacks_are_not_asked_for(make_record: MakeRecord) -> None:
    record = make_record(attack_access="black-box", gradient_finite=False, gradient_nonzero=False, trace=(1.0, 0.0))
    assert invalid_reasons(record) == []


@pytest.mark.parametrize("attack_access", ["white-box", "black-box"])
def test_a_metric_that_declares_gradients_and_has_none_hides_the_way(
    attack_access: str, make_record: MakeRecord
) -> None:
    (reason,) = invalid_reasons(make_record(attack_access=attack_access, differentiable=False))
    assert "declares white-box access" in reason


def test_a_metric_that_says_it_has_no_gradients_is_attacked_by_queries(make_record: MakeRecord) -> None:
    record = make_record(attack_access="black-box", metric_access="query-only", differentiable=False)
    assert invalid_reasons(record) == []


# --- flat scores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answered", "valid"), [(60, True), (30, True), (29, False), (0, False)])
def test_queries_that_most_images_do_not_answer_are_invalid(
    answered: int, valid: bool, make_record: MakeRecord
) -> None:
    reasons = invalid_reasons(make_record(attack_access="black-box", responded=share(answered)))
    assert (reasons == []) == valid
    assert valid or reasons[0].startswith(f"{1 - answered / 60:.0%} of the images gave every query the same score")


def flat_placebo(make_record: MakeRecord, flat: int, **columns: object) -> Record:
    quality = np.linspace(20, 80, 60)
    return make_record(placebo=np.where(share(flat), quality, quality + 0.1), defended_clean=quality, **columns)


@pytest.mark.parametrize(("flat", "valid"), [(0, True), (30, True), (31, False), (60, False)])
@pytest.mark.parametrize("access", ["white-box", "black-box"])
def test_a_score_that_noise_does_not_move_on_most_images_is_invalid(
    flat: int, valid: bool, access: str, make_record: MakeRecord
) -> None:
    reasons = invalid_reasons(flat_placebo(make_record, flat, attack_access=access))
    assert (reasons == []) == valid
    assert valid or f"left {flat / 60:.0%} of the scores exactly as they were" in reasons[0]


def test_a_flat_score_is_found_although_the_attack_left_some_images_alone(make_record: MakeRecord) -> None:
    (reason,) = invalid_reasons(flat_placebo(make_record, 60, linf=np.where(share(5), 0, 2 / 255)))
    assert "left 92% of the scores" in reason


def test_images_that_the_attack_left_alone_do_not_make_a_score_flat(make_record: MakeRecord) -> None:
    # The placebo has the attack's size: where that is 0, it is the image itself.
    assert invalid_reasons(flat_placebo(make_record, 50, linf=np.where(share(50), 0, 2 / 255))) == []


def test_every_reason_is_given(make_record: MakeRecord) -> None:
    record = flat_placebo(make_record, 60, proof=(0.0,) * 8, gradient_finite=False, gradient_nonzero=False)
    assert len(invalid_reasons(record)) == 4


# --- attacks on a share of the images -------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["gradient_nonzero", "gradient_finite"])
def test_evidence_is_asked_of_the_images_that_were_attacked(column: str, make_record: MakeRecord) -> None:
    entrant = share(6)
    unattacked = {"entrant": entrant, "linf": np.where(entrant, 2 / 255, 0.0)}
    assert invalid_reasons(make_record(**unattacked, **{column: entrant})) == []
    (reason,) = invalid_reasons(make_record(**unattacked, **{column: share(3)}))
    assert "on 50% of the images" in reason


def test_answers_to_queries_and_to_noise_are_those_of_the_attacked_images(make_record: MakeRecord) -> None:
    entrant = share(6)
    assert invalid_reasons(make_record(attack_access="black-box", entrant=entrant, responded=entrant)) == []
    flat = make_record(entrant=entrant, linf=np.where(entrant, 2 / 255, 0.0), placebo=np.linspace(20, 80, 60))
    (reason,) = invalid_reasons(flat)
    assert "left 100% of the scores exactly as they were" in reason


def test_an_attack_that_attacked_nobody_proves_nothing(make_record: MakeRecord) -> None:
    (reason,) = invalid_reasons(make_record(entrant=False, linf=0.0))
    assert "no image was drawn" in reason
