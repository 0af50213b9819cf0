"""Measures of certificates: what each form has, what its numbers are, and when broken ones are too many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, binomtest

from iqa_robustness.gate.certified import SIGNIFICANCE, broken_counts
from iqa_robustness.gate.measurements import measure
from iqa_robustness.gate.thresholds import Bound, CellThresholds
from iqa_robustness.gate.validity import invalid_reasons
from iqa_robustness.gate.verdict import judge
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]
SOUND = CellThresholds(bounds={"broken_p": Bound(min=SIGNIFICANCE)})


def exact(hits: int, count: int, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson by their definition: chances at which so many hits, or so few, have a chance of alpha."""
    low = brentq(lambda p: binom.sf(hits - 1, count, p) - alpha, 0, 1) if hits else 0.0
    high = brentq(lambda p: binom.cdf(hits, count, p) - alpha, 0, 1) if hits < count else 1.0
    return float(low), float(high)


@pytest.fixture(scope="session")
def certified(make_record: MakeRecord) -> MakeRecord:
    def make(**facts: Any) -> Record:
        return make_record(**{"kind": "certified", "scenario": "certified", **facts})

    return make


@pytest.fixture(scope="session")
def attacked_inside(make_record: MakeRecord) -> MakeRecord:
    def make(**facts: Any) -> Record:
        return make_record(**{"kind": "certified", "scenario": "soundness", **facts})

    return make


# --- which ----------------------------------------------------------------------------------------------------------


def test_each_form_has_measures_of_its_own(certified: MakeRecord) -> None:
    median, classes = (set(measure(certified(form=form))) for form in ("median", "classification"))
    assert median - classes == {"cert_rd", "cert_rd_familywise", "cert_width", "sampling_error"}
    assert classes - median == {"same_class", "vote_error"}
    assert {"cert_r", "cert_r_familywise", "cert_share", "abstain", "srocc_clear"} <= median & classes
    assert not {"broken", "broken_p"} & (median | classes)


@pytest.mark.parametrize(("form", "error"), [("median", "sampling_error"), ("classification", "vote_error")])
def test_a_soundness_cell_says_what_broke_and_how_exact_the_scores_are(
    form: str, error: str, attacked_inside: MakeRecord
) -> None:
    found = measure(attacked_inside(form=form))
    assert set(found) == {"gain_defended", "srocc_clear", "spread", error, "broken", "broken_p"}


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_the_numbers_of_a_medians_certificate(certified: MakeRecord) -> None:
    lower, upper = np.full(60, 30.0), np.full(60, 58.0)
    lower[:15] = upper[:15] = math.nan
    abstained = np.arange(60) < 15
    record = certified(
        score_range=(0.0, 200.0),
        defended_attacked=50.0,
        attacked_lower=lower,
        attacked_upper=upper,
        attacked_lower_familywise=20.0,
        attacked_upper_familywise=90.0,
        radius=np.where(abstained, 0, 0.05),
        radius_familywise=np.where(abstained, 0, 0.04),
        abstained=abstained,
        estimate_lower=49.0,
        estimate_upper=53.0,
    )
    found = {name: measurement.value for name, measurement in measure(record).items()}
    assert found["cert_rd"] == pytest.approx(20 / 200)  # the larger side, of the images that have one
    assert found["cert_width"] == pytest.approx(28 / 200)
    assert found["cert_rd_familywise"] == pytest.approx(40 / 200)
    assert found["abstain"] == pytest.approx(0.25)
    assert found["cert_r"] == pytest.approx(0.0375)
    assert found["cert_r_familywise"] == pytest.approx(0.03)
    assert found["sampling_error"] == pytest.approx(1.0)  # half of 4 in 200


@pytest.mark.parametrize(("l2", "share"), [(0.05, 0.5), (0.0501, 0.0), (0.0, 1.0), (1.5, 0.0)])
def test_a_certificate_reaches_an_attack_no_farther_than_its_radius(
    l2: float, share: float, certified: MakeRecord
) -> None:
    radii = np.where(np.arange(60) % 2, 0.05, 0.0)
    assert measure(certified(clean_radius=radii, l2=l2))["cert_share"].value == share


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_a_share_of_all_or_nothing_is_as_uncertain_as_its_contents_are_few(l2: float, certified: MakeRecord) -> None:
    interval = measure(certified(images=12, contents=6, l2=l2))["cert_share"].interval
    assert (interval.low, interval.high) == pytest.approx(exact(6 if l2 == 0 else 0, 6, 0.025), abs=1e-9)


def test_at_another_resolution_no_distance_can_be_compared(certified: MakeRecord) -> None:
    found = measure(certified(resolution=256, l2=0.0))["cert_share"]
    assert not found.applicable


def test_the_same_class_is_one_that_both_images_certainly_have(certified: MakeRecord) -> None:
    number = np.arange(60)
    record = certified(
        form="classification",
        attacked_class=np.where(number < 30, 5, 6),
        abstained=number < 10,
        clean_abstained=(number >= 10) & (number < 15),
    )
    assert measure(record)["same_class"].value == pytest.approx(15 / 60)


@settings(max_examples=25)
@given(votes=st.integers(0, 200), looks=st.integers(1, 3))
def test_the_error_of_votes_is_that_of_clopper_and_pearson(votes: int, looks: int, certified: MakeRecord) -> None:
    record = certified(form="classification", images=2, attacked_votes=votes)
    record.meta["certificate"]["looks"] = looks
    low, high = exact(votes, 200, 0.001 / looks)
    assert measure(record)["vote_error"].value == pytest.approx(50 * (high - low), abs=1e-6)


# --- broken ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(broken=st.integers(0, 60), abstaining=st.integers(0, 60))
def test_broken_certificates_are_counted_among_those_there_are(
    broken: int, abstaining: int, attacked_inside: MakeRecord
) -> None:
    number = np.arange(60)
    record = attacked_inside(broken=number < broken, clean_abstained=number >= 60 - abstaining)
    count = 60 - abstaining
    assert broken_counts(record) == (min(broken, count), count)
    found = measure(record)
    if not count:
        assert not found["broken"].applicable
        assert not found["broken_p"].applicable
        return
    assert found["broken"].value == pytest.approx(min(broken, count) / count)
    # The chance of as many or more, from the distribution itself.
    assert found["broken_p"].value == pytest.approx(binom.sf(min(broken, count) - 1, count, 0.001), rel=1e-6)
    low, high = exact(min(broken, count), count, 0.025)
    assert (found["broken"].interval.low, found["broken"].interval.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("images", "allowed"), [(3, 0), (10, 0), (11, 1), (100, 1), (200, 2), (1000, 4)])
def test_a_cell_fails_where_alpha_does_not_explain_what_broke(
    images: int, allowed: int, attacked_inside: MakeRecord
) -> None:
    assert binomtest(allowed, images, 0.001, alternative="greater").pvalue >= SIGNIFICANCE
    number = np.arange(images)
    verdicts = [
        judge(attacked_inside(images=images, contents=images, broken=number < broken), SOUND)
        for broken in (allowed, allowed + 1)
    ]
    assert [verdict.status for verdict in verdicts] == ["pass", "fail"]
    assert "Chance of as many broken certificates" in verdicts[1].reasons[0]


def test_where_everything_abstains_nothing_was_shown(attacked_inside: MakeRecord) -> None:
    found = judge(attacked_inside(clean_abstained=True, clean_radius=0.0, l2=0.0), SOUND)
    assert found.status == "invalid"
    assert "every image abstains" in found.reasons[0]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"l2": 0.0501}, "outside the certified radius"),
        ({"gradient_finite": False}, "gradients were not finite on 100%"),
        ({"gradient_nonzero": False}, "gradients were zero on 100%"),
    ],
)
def test_an_attack_that_could_not_work_is_invalid(
    facts: dict[str, Any], reason: str, attacked_inside: MakeRecord
) -> None:
    assert invalid_reasons(attacked_inside()) == []
    (found,) = invalid_reasons(attacked_inside(**facts))
    assert reason in found
    # What abstains is not attacked, and is no evidence.
    half = np.arange(60) < 30
    mixed = {name: np.where(half, value, attacked_inside().images[name]) for name, value in facts.items()}
    assert invalid_reasons(attacked_inside(**mixed, clean_abstained=half)) == []


# --- gates ----------------------------------------------------------------------------------------------------------


def test_a_class_that_is_never_certain_fails_by_its_radius_and_its_abstentions(certified: MakeRecord) -> None:
    gates = CellThresholds(
        bounds={"cert_rd": Bound(max=0.05), "cert_r": Bound(min=0.03), "abstain": Bound(max=0.1)},
    )
    facts = {"form": "classification", "images": 6, "contents": 6}
    assert judge(certified(**facts), gates).status == "pass"
    never = judge(certified(**facts, radius=0.0, abstained=True), gates)
    assert never.status == "fail"
    assert [check.measurement.name for check in never.checks] == ["cert_r", "abstain"]
    # A few abstentions among a few images are no evidence yet.
    some = judge(certified(**facts, abstained=np.arange(6) < 1), gates)
    assert [check.measurement.name for check in some.checks] == ["cert_r"]


def test_classes_that_noise_does_not_change_hide_no_gradient(certified: MakeRecord) -> None:
    still = {"placebo": 50.0, "defended_clean": 50.0}
    assert invalid_reasons(certified(form="classification", **still)) == []
    (reason,) = invalid_reasons(certified(form="median", **still))
    assert "exactly as they were" in reason
