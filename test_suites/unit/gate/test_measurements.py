"""Measurements: each number of a record against the measure it is made of, its direction, and when it is gated on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import (
    ABSTAIN_IMAGES,
    MEASURES,
    RANK_IMAGES,
    SROCC_IMAGES,
    SROCC_IMAGES_MINI,
    Measurement,
    measure,
)
from iqa_robustness.measures import (
    Interval,
    d_score,
    d_score_excess,
    effect_size,
    gain,
    mean_interval,
    mixture_srocc,
    q_score,
    rank_displacement,
    rank_flips,
    srocc,
    statistic_interval,
    survives_encode,
)
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]
# Of a median's certificate: test_certified.py has the others.
CERTIFIED = {
    *("cert_rd", "cert_rd_familywise", "cert_width", "cert_r", "cert_r_familywise", "cert_share"),
    *("abstain", "sampling_error"),
}
OTHERS = {"broken", "broken_p", "same_class", "vote_error"}
ENCODED = {"survives_jpeg", "survives_resize"}
TRAINED = {"d_score_own"}


def noisy(make_record: MakeRecord, **more: Any) -> Record:
    """A record whose columns all differ."""
    random = np.random.RandomState(0)
    count = more.get("images", 60)
    encoded = ("clean_jpeg", "attacked_jpeg", "clean_resize", "attacked_resize")
    columns = ("mos", "clean", "attacked", "defended_clean", "defended_attacked", "placebo", *encoded)
    scores = {name: random.uniform(20, 80, count) for name in columns}
    return make_record(**{**scores, "psnr_purified": random.uniform(20, 50, count), **more})


# --- which ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "purification", "certified", "training"])
@pytest.mark.parametrize("scenario", ["clean", "nonadaptive", "adaptive", "certified", "transfer"])
def test_a_record_has_the_measures_of_its_scenario_and_defense(
    scenario: str, kind: str, make_record: MakeRecord
) -> None:
    found = measure(make_record(scenario=scenario, kind=kind))
    if scenario == "clean":
        assert set(found) == {"q_score", "srocc_clear", "spread", "headroom"}
    else:
        left_out = OTHERS | TRAINED | (set() if kind == "certified" else CERTIFIED)
        assert set(found) == set(MEASURES) - left_out - (set() if scenario == "nonadaptive" else ENCODED)
    assert all(found[name].name == name and found[name].title == MEASURES[name].title for name in found)


# --- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("higher", [True, False], ids=["higher", "lower"])
def test_estimates_are_those_of_the_measures(higher: bool, make_record: MakeRecord) -> None:
    record = noisy(make_record, higher_is_better=higher, score_range=(0.0, 80.0))
    found = {name: measurement.value for name, measurement in measure(record).items()}
    scores = record.scores
    clean, defended, attacked = scores("clean"), scores("defended_clean"), scores("defended_attacked")
    sign = 1 if higher else -1
    expected = {
        "d_score": d_score(clean, attacked, diam=80),
        "d_score_excess": d_score_excess(clean, attacked, scores("placebo"), diam=80),
        "d_score_placebo": d_score(clean, scores("placebo"), diam=80),
        "d_score_noise": 0.0,
        "d_score_defended": d_score(defended, attacked, diam=80),
        "gain": gain(clean, attacked, diam=80, higher_is_better=higher),
        "gain_defended": gain(defended, attacked, diam=80, higher_is_better=higher),
        "effect_size": effect_size(clean, attacked),
        "q_score": q_score(scores("ssim_purified"), scores("psnr_purified")),
        "srocc_clear": srocc(scores("mos"), sign * defended),
        "srocc_adv": srocc(scores("mos"), sign * attacked),
        "srocc_shift": srocc(clean, attacked),
        "srocc_mixed": mixture_srocc(scores("mos"), sign * defended, sign * attacked, share=0.5),
        "srocc_mixed_shift": mixture_srocc(clean, defended, attacked, share=0.5),
        "rank_flips": rank_flips(clean, attacked),
        "rank_displacement": rank_displacement(defended, attacked, higher_is_better=higher),
        "survives_jpeg": survives_encode(
            clean, scores("attacked"), scores("clean_jpeg"), scores("attacked_jpeg"), higher_is_wanted=higher
        ),
        "survives_resize": survives_encode(
            clean, scores("attacked"), scores("clean_resize"), scores("attacked_resize"), higher_is_wanted=higher
        ),
        "spread": float(np.percentile(defended, 95) - np.percentile(defended, 5)) / 0.8,
        "headroom": float(((80 - defended) if higher else defended).mean()) / 0.8,
    }
    assert found == pytest.approx(expected)


def test_a_trained_metric_is_also_measured_on_its_own_range(make_record: MakeRecord) -> None:
    record = noisy(make_record, kind="training", score_range=(0.0, 80.0))
    record.meta["defense"]["own_range"] = [10.0, 170.0]
    found = measure(record)
    defended, attacked = record.scores("defended_clean"), record.scores("defended_attacked")
    assert found["d_score_own"].value == pytest.approx(d_score(defended, attacked, diam=160))
    assert found["d_score_own"].value == pytest.approx(found["d_score_defended"].value / 2)
    assert "d_score_own" not in measure(noisy(make_record))


def test_the_noise_floor_is_the_d_score_of_clean_images_scored_twice(make_record: MakeRecord) -> None:
    again = np.linspace(22, 79, 60)
    record = noisy(make_record, defended_clean_again=again, score_range=(0.0, 50.0))
    found = measure(record)["d_score_noise"]
    assert found.value == pytest.approx(d_score(record.scores("defended_clean"), again, diam=50))
    assert found.interval.low > 0
    # Nothing random, nothing computed: no noise, and no doubt about it.
    still = measure(noisy(make_record))["d_score_noise"]
    assert (still.value, still.interval.low, still.interval.high) == (0.0, 0.0, 0.0)


def test_an_interval_is_over_contents_not_images(make_record: MakeRecord) -> None:
    record = noisy(make_record, contents=12)
    found = measure(record)
    assert {name: m.interval.clusters for name, m in found.items()} == dict.fromkeys(found, 12)
    shifts = 100 * np.abs(record.scores("defended_attacked") - record.scores("clean")) / 100
    assert found["d_score"].interval == mean_interval(shifts, record.contents)


@pytest.mark.parametrize("name", ["srocc_clear", "srocc_adv", "srocc_shift", "rank_flips"])
def test_correlations_have_fishers_interval_and_shares_the_logits(name: str, make_record: MakeRecord) -> None:
    record = noisy(make_record, contents=20)
    statistic = rank_flips if name == "rank_flips" else srocc
    first = record.scores("clean" if name in ("srocc_shift", "rank_flips") else "mos")
    second = record.scores("defended_clean" if name == "srocc_clear" else "defended_attacked")
    expected = statistic_interval(
        lambda rows: statistic(first[rows], second[rows]),
        record.contents,
        scale="correlation" if statistic is srocc else "share",
    )
    assert measure(record)[name].interval == expected


# --- directions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("higher", [True, False], ids=["higher", "lower"])
def test_a_metric_that_agrees_with_people_has_a_positive_srocc(higher: bool, make_record: MakeRecord) -> None:
    found = measure(make_record(higher_is_better=higher))
    assert found["srocc_clear"].value == found["srocc_adv"].value == pytest.approx(1)
    # And the attack of the factory raised the reported quality.
    assert found["gain"].value > 0


@pytest.mark.parametrize(
    ("goal", "higher", "room"),
    [("raise", True, 10), ("raise", False, 90), ("lower", True, 90), ("lower", False, 10)],
)
def test_headroom_is_towards_where_the_attacker_wants_to_go(
    goal: str, higher: bool, room: float, make_record: MakeRecord
) -> None:
    # A score of 140 in a range of 50 to 150: 10 above, 90 below, in per cent of the range.
    record = make_record(goal=goal, higher_is_better=higher, score_range=(50.0, 150.0), defended_clean=140.0)
    assert measure(record)["headroom"].value == pytest.approx(room)


def test_a_score_outside_of_its_range_has_no_headroom_rather_than_a_negative_one(make_record: MakeRecord) -> None:
    assert measure(make_record(defended_clean=130.0))["headroom"].value == 0


# --- what does not exist --------------------------------------------------------------------------------------------


def test_q_score_is_not_applicable_where_pixels_do_not_correspond(make_record: MakeRecord) -> None:
    found = measure(make_record(ssim_purified=math.nan, psnr_purified=math.nan))["q_score"]
    assert not found.applicable
    assert measure(make_record())["q_score"].applicable


def test_an_infinite_psnr_leaves_q_score_finite(make_record: MakeRecord) -> None:
    found = measure(make_record(ssim_purified=1.0, psnr_purified=math.inf))["q_score"]
    assert found.value == pytest.approx(3.5)


@pytest.mark.parametrize("name", ["srocc_clear", "srocc_adv", "srocc_shift", "effect_size"])
def test_a_constant_score_leaves_ranks_undefined(name: str, make_record: MakeRecord) -> None:
    found = measure(make_record(clean=5.0, defended_clean=5.0, defended_attacked=5.0))
    assert not found[name].applicable
    assert found["spread"].value == 0


# --- enough images --------------------------------------------------------------------------------------------------


def test_the_numbers_of_images_are_published() -> None:
    assert (SROCC_IMAGES, SROCC_IMAGES_MINI, RANK_IMAGES, ABSTAIN_IMAGES) == (200, 40, 50, 36)


@pytest.mark.parametrize(
    ("name", "dataset", "needed"),
    [
        ("srocc_clear", "folder:/photos", SROCC_IMAGES),
        ("srocc_adv", "koniq:/data", SROCC_IMAGES),
        ("srocc_clear", "mini", SROCC_IMAGES_MINI),
        ("srocc_adv", "mini", SROCC_IMAGES_MINI),
        ("srocc_shift", "mini", RANK_IMAGES),
        ("rank_flips", "folder:/photos", RANK_IMAGES),
        ("rank_displacement", "mini", RANK_IMAGES),
        ("abstain", "mini", ABSTAIN_IMAGES),
        ("cert_share", "mini", ABSTAIN_IMAGES),
        ("survives_jpeg", "mini", ABSTAIN_IMAGES),
        ("survives_resize", "folder:/photos", ABSTAIN_IMAGES),
    ],
)
def test_below_its_number_of_images_a_measure_is_reported_and_not_gated(
    name: str, dataset: str, needed: int, make_record: MakeRecord
) -> None:
    few, enough = (
        measure(make_record(images=count, contents=10, dataset=dataset, kind="certified"))[name]
        for count in (needed - 1, needed)
    )
    assert (few.gated, enough.gated) == (False, True)
    assert f"{needed - 1} images, {needed} are needed" in few.note
    assert enough.note == ""
    assert few.applicable


NEED_IMAGES = {"rank_flips", "rank_displacement", "abstain", "cert_share", *ENCODED}


@pytest.mark.parametrize(
    "name", sorted(name for name in set(MEASURES) - NEED_IMAGES - OTHERS - TRAINED if not name.startswith("srocc_"))
)
def test_means_are_gated_with_any_number_of_images(name: str, make_record: MakeRecord) -> None:
    found = measure(make_record(images=1, contents=1, kind="certified"))[name]
    assert found.gated
    # One content has no error to speak of: everything that the measure can be is possible, and no verdict comes of it.
    assert (found.interval.low, found.interval.high) == MEASURES[name].limits


def test_no_interval_leaves_what_the_measure_can_be(make_record: MakeRecord) -> None:
    # Three contents and skewed shifts: Student's interval alone would reach far below zero.
    record = make_record(images=3, contents=3, kind="certified")
    for name, found in measure(record).items():
        least, most = MEASURES[name].limits
        assert least <= found.interval.low <= found.interval.high <= most, name
    assert MEASURES["gain"].limits == (-math.inf, math.inf)


@pytest.mark.parametrize("goal", ["raise", "lower"])
@pytest.mark.parametrize("higher", [True, False], ids=["higher", "lower"])
def test_a_gain_survives_where_the_attacker_wants_it(higher: bool, goal: str, make_record: MakeRecord) -> None:
    wanted = 1 if higher == (goal == "raise") else -1
    clean = np.linspace(20, 80, 40)
    record = make_record(
        images=40,
        goal=goal,
        higher_is_better=higher,
        clean=clean,
        attacked=clean + 8 * wanted,
        clean_jpeg=clean - 30,
        attacked_jpeg=clean - 30 + wanted * np.where(np.arange(40) < 10, 3.9, 4.1),
        clean_resize=clean,
        attacked_resize=clean - 8 * wanted,
    )
    found = measure(record)
    assert (found["survives_jpeg"].value, found["survives_resize"].value) == (0.75, 0)


def test_without_encoded_scores_or_a_gain_survival_is_not_applicable(make_record: MakeRecord) -> None:
    behind = measure(make_record(clean_jpeg=math.nan, attacked_jpeg=math.nan))
    assert (behind["survives_jpeg"].applicable, behind["survives_resize"].applicable) == (False, True)
    robust = measure(make_record(attacked=50.0, clean=50.0))
    assert not robust["survives_jpeg"].applicable


def test_only_entrants_climb_and_over_clean_rivals(make_record: MakeRecord) -> None:
    clean, entrant = np.linspace(20, 80, 60), np.arange(60) % 6 == 0
    record = make_record(defended_clean=clean, defended_attacked=np.where(entrant, 99.0, clean), entrant=entrant)
    places = (59 - np.flatnonzero(entrant)).mean() / 59
    assert measure(record)["rank_displacement"].value == pytest.approx(100 * places)
    nobody = measure(make_record(entrant=False))["rank_displacement"]
    assert not nobody.applicable


def test_the_climbs_interval_leaves_out_rivals_as_well_as_entrants(make_record: MakeRecord) -> None:
    record = noisy(make_record, contents=15)
    before, after = record.scores("defended_clean"), record.scores("defended_attacked")
    expected = statistic_interval(lambda rows: rank_displacement(before[rows], after[rows]), record.contents)
    # Ranks are counted in another order here and there: the last bits of a mean over 60 images may differ.
    assert astuple(measure(record)["rank_displacement"].interval) == pytest.approx(
        astuple(expected.within(-100, 100)), rel=1e-10
    )


def test_fewer_images_cannot_show_a_tenth_of_abstentions() -> None:
    # With a true share of a tenth, seeing none must be rarer than one in forty: the interval has two sides.
    assert 0.9**ABSTAIN_IMAGES < 0.025 <= 0.9 ** (ABSTAIN_IMAGES - 1)


def test_a_measurement_knows_its_value() -> None:
    made = Measurement(
        name="x", title="X", unit="", interval=Interval(value=math.nan, low=-math.inf, high=math.inf, clusters=0)
    )
    assert math.isnan(made.value)
    assert not made.applicable
