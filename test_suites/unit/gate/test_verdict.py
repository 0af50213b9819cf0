"""Verdicts: every row of the architecture's table, what dominates what, and what is not checked."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.errors import ExitCode
from iqa_robustness.gate.measurements import Measurement
from iqa_robustness.gate.thresholds import Bound, CellThresholds
from iqa_robustness.gate.verdict import EXIT_CODES, PRECEDENCE, Check, Verdict, _status, described, judge
from iqa_robustness.measures import Interval
from iqa_robustness.store import Record

MakeRecord = Callable[..., Record]
WEAK = "a flip is invertible"


def thresholds(weakness: str = "", **bounds: Bound) -> CellThresholds:
    return CellThresholds(bounds=bounds, known_weakness=weakness)


def interval(low: float, value: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, clusters=10)


def measurement(low: float, value: float, high: float) -> Measurement:
    return Measurement(name="d_score", title="D_score", unit="% of range", interval=interval(low, value, high))


# The D_score of the factory's record is 0.95 [0.92, 0.98]: three bounds, three statuses; and no proof, no verdict.
SITUATIONS = {
    "pass": ({}, Bound(max=20)),
    "fail": ({}, Bound(max=0.5)),
    "inconclusive": ({}, Bound(max=0.95)),
    "invalid": ({"proof": (0.0,) * 8}, Bound(max=20)),
}


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "declared", "expected", "exit_code"),
    [
        ("pass", False, False, ExitCode.PASS),
        ("fail", False, False, ExitCode.FAIL),
        ("inconclusive", False, False, ExitCode.INCONCLUSIVE),
        ("invalid", False, False, ExitCode.INVALID),
        ("pass", True, False, ExitCode.FAIL),  # the weakness is gone, remove the rule
        ("fail", True, True, ExitCode.PASS),
        ("inconclusive", True, True, ExitCode.PASS),
        ("invalid", True, False, ExitCode.INVALID),  # nothing proved, nothing excused
    ],
)
def test_every_row_of_the_table(
    status: str, declared: bool, expected: bool, exit_code: ExitCode, make_record: MakeRecord
) -> None:
    facts, bound = SITUATIONS[status]
    found = judge(make_record(contents=60, **facts), thresholds(WEAK if declared else "", d_score=bound))
    assert found.status == status
    assert (found.declared, found.expected, found.exit_code) == (declared, expected, exit_code)
    assert (found.reasons == ()) == (status == "pass")


def test_a_cell_that_was_not_computed_ends_a_run_as_missing_declared_or_not() -> None:
    for weakness in ("", WEAK):
        found = Verdict(
            status="missing", checks=(), measurements={}, reasons=("lost",), thresholds=thresholds(weakness)
        )
        assert (found.expected, found.exit_code) == (False, ExitCode.MISSING)


def test_only_a_pass_is_green_and_what_informs_stops_nobody() -> None:
    assert {status for status, code in EXIT_CODES.items() if code == ExitCode.PASS} == {"pass", "informing"}
    assert {status: int(code) for status, code in EXIT_CODES.items()} == {
        "pass": 0,
        "fail": 1,
        "inconclusive": 10,
        "invalid": 11,
        "missing": 12,
        "informing": 0,
    }


@pytest.mark.parametrize("weakness", ["", WEAK])
def test_a_transfer_informs_unless_a_threshold_is_given(weakness: str, make_record: MakeRecord) -> None:
    found = judge(make_record(scenario="transfer"), thresholds(weakness))
    assert (found.status, found.reasons, found.exit_code) == ("informing", (), ExitCode.PASS)
    assert not found.expected
    for status, (facts, bound) in SITUATIONS.items():
        record = make_record(scenario="transfer", contents=60, **facts)
        assert judge(record, thresholds(weakness, d_score=bound)).status == status


def test_a_broken_attack_informs_of_nothing(make_record: MakeRecord) -> None:
    found = judge(make_record(scenario="transfer", proof=(0.0,) * 8), thresholds())
    assert found.status == "invalid"


def test_the_worst_outcome_decides_a_run() -> None:
    assert [int(code) for code in PRECEDENCE] == [1, 13, 12, 11, 10]


# --- one bound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "bound", "status"),
    [
        (5, 9, Bound(max=10), "pass"),
        (5, 10, Bound(max=10), "pass"),  # bounds are inclusive
        (5, 11, Bound(max=10), "inconclusive"),
        (10, 15, Bound(max=10), "inconclusive"),
        (11, 15, Bound(max=10), "fail"),
        (5, 9, Bound(min=4), "pass"),
        (4, 9, Bound(min=4), "pass"),
        (3, 9, Bound(min=4), "inconclusive"),
        (1, 3, Bound(min=4), "fail"),
        (5, 9, Bound(min=4, max=10), "pass"),
        (3, 11, Bound(min=4, max=10), "inconclusive"),
        (3, 9, Bound(min=4, max=10), "inconclusive"),
        (1, 3, Bound(min=4, max=10), "fail"),
        (11, 12, Bound(min=4, max=10), "fail"),
        (-math.inf, math.inf, Bound(max=10), "inconclusive"),
        (-math.inf, math.inf, Bound(min=4), "inconclusive"),
        (-math.inf, 9, Bound(max=10), "pass"),
    ],
)
def test_a_bound_passes_when_the_whole_interval_is_allowed_and_fails_when_none_is(
    low: float, high: float, bound: Bound, status: str
) -> None:
    value = 7.0 if math.isinf(low) else (low + min(high, 99)) / 2
    assert _status(measurement(low, value, high), bound) == status


NUMBERS = st.floats(-100, 100)


@given(st.lists(NUMBERS, min_size=3, max_size=3).map(sorted), st.lists(NUMBERS, min_size=2, max_size=2).map(sorted))
def test_a_status_is_what_all_points_of_the_interval_agree_on(points: list[float], limits: list[float]) -> None:
    bound = Bound(min=limits[0], max=limits[1])
    allowed = {limits[0] <= point <= limits[1] for point in np.linspace(points[0], points[2], 7)}
    status = _status(measurement(*points), bound)
    if status == "pass":
        assert allowed == {True}
    elif status == "fail":
        assert allowed == {False}
    else:
        assert not (points[0] >= limits[0] and points[2] <= limits[1])


@given(st.lists(NUMBERS, min_size=3, max_size=3).map(sorted), NUMBERS, st.floats(0, 50))
def test_a_looser_bound_never_judges_worse(points: list[float], limit: float, more: float) -> None:
    order = ["fail", "inconclusive", "pass"]
    strict, loose = (_status(measurement(*points), Bound(max=value)) for value in (limit, limit + more))
    assert order.index(loose) >= order.index(strict)


def test_a_wider_interval_never_turns_a_fail_into_a_pass() -> None:
    statuses = [_status(measurement(12 - r, 12, 12 + r), Bound(max=10)) for r in (0, 1, 3, 100)]
    assert statuses == ["fail", "fail", "inconclusive", "inconclusive"]


# --- several bounds -------------------------------------------------------------------------------------------------


def test_invalid_comes_before_fail_before_inconclusive_before_pass(make_record: MakeRecord) -> None:
    good, unsure, bad = Bound(max=20), Bound(max=0.95), Bound(max=0.5)
    record = make_record(contents=60)
    three = thresholds(d_score=good, d_score_defended=unsure, gain=bad)
    assert judge(record, three).status == "fail"
    assert judge(record, thresholds(d_score=good, gain=unsure)).status == "inconclusive"
    assert judge(make_record(contents=60, proof=(0.0,) * 8), three).status == "invalid"


def test_an_invalid_cell_names_its_reasons_not_its_numbers(make_record: MakeRecord) -> None:
    found = judge(make_record(proof=(0.0,) * 8), thresholds(d_score=Bound(max=0.1)))
    assert len(found.reasons) == 1
    assert "vulnerable metric" in found.reasons[0]
    assert [check.status for check in found.checks] == ["fail"]  # the numbers are still there to be reported


def test_a_failed_cell_names_every_bound_it_does_not_keep(make_record: MakeRecord) -> None:
    found = judge(
        make_record(contents=60), thresholds(d_score=Bound(max=0.5), spread=Bound(min=5), gain=Bound(max=0.95))
    )
    assert [reason.split(":")[0] for reason in found.reasons] == ["fail", "inconclusive"]
    assert "D_score" in found.reasons[0]
    assert "at most 0.5 is required" in found.reasons[0]


def test_without_any_threshold_nothing_is_green(make_record: MakeRecord) -> None:
    for bounds in ({}, {"cert_rd": Bound(max=0.1)}):  # the second does not exist without a certificate
        found = judge(make_record(), thresholds(**bounds))
        assert found.status == "inconclusive"
        assert found.reasons == ("no threshold applies to this cell; add one to thresholds.yaml",)


# --- what is checked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("srocc_clear", {"defended_clean": 50.0}),
        ("srocc_adv", {"defended_attacked": 50.0}),
        ("srocc_shift", {"defended_attacked": 50.0}),
        ("rank_flips", {"clean": 50.0}),
    ],
)
def test_an_undefined_rank_correlation_is_a_fail(name: str, columns: dict[str, float], make_record: MakeRecord) -> None:
    bound = Bound(max=0.5) if name == "rank_flips" else Bound(min=0.5)
    found = judge(make_record(images=200, contents=40, **columns), thresholds(**{name: bound}))
    assert found.status == "fail"
    assert "is undefined" in found.reasons[0]


def test_a_q_score_that_cannot_exist_is_not_checked(make_record: MakeRecord) -> None:
    both = thresholds(q_score=Bound(min=1.5), d_score=Bound(max=20))
    record = make_record(ssim_purified=math.nan, psnr_purified=math.nan)
    found = judge(record, both)
    assert found.status == "pass"
    assert [check.measurement.name for check in found.checks] == ["d_score"]
    assert judge(make_record(ssim_purified=0.1), both).status == "fail"


def test_a_certificate_that_always_abstains_does_not_pass_by_having_no_numbers(make_record: MakeRecord) -> None:
    # Four images are too few to gate on abstentions, so Cert.RD has to speak.
    both = thresholds(cert_rd=Bound(max=0.05), abstain=Bound(max=0.1), d_score=Bound(max=20))
    nothing = {"attacked_lower": math.nan, "attacked_upper": math.nan, "radius": 0.0, "abstained": True}
    assert judge(make_record(images=4, contents=4, kind="certified"), both).status == "pass"
    found = judge(make_record(images=4, contents=4, kind="certified", **nothing), both)
    assert found.status == "fail"
    assert "Cert.RD (certified delta, lower is better) is undefined" in found.reasons[0]


def test_a_certificate_of_a_radius_alone_has_no_cert_rd_to_check(make_record: MakeRecord) -> None:
    record = make_record(kind="certified", attacked_lower=math.nan, attacked_upper=math.nan)
    found = judge(record, thresholds(cert_rd=Bound(max=0.05), cert_r=Bound(min=0.01)))
    assert found.status == "pass"
    assert [check.measurement.name for check in found.checks] == ["cert_r"]


def test_below_its_image_minimum_a_measure_is_reported_and_not_gated(make_record: MakeRecord) -> None:
    both = thresholds(srocc_adv=Bound(min=0.6), d_score=Bound(max=20))
    record = make_record(images=199, contents=40, mos=np.linspace(5, 1, 199))  # disagrees with everybody
    found = judge(record, both)
    assert found.status == "pass"
    assert found.measurements["srocc_adv"].value == pytest.approx(-1)
    assert "199 images, 200 are needed" in found.measurements["srocc_adv"].note
    assert judge(make_record(images=200, contents=40, mos=np.linspace(5, 1, 200)), both).status == "fail"


def test_a_single_content_is_never_enough(make_record: MakeRecord) -> None:
    found = judge(make_record(contents=1), thresholds(d_score=Bound(max=20)))
    assert found.status == "inconclusive"
    assert "no interval: too few contents" in found.reasons[0]


@pytest.mark.parametrize("contents", [2, 3])
def test_two_contents_that_differ_are_not_sure_of_their_mean(contents: int, make_record: MakeRecord) -> None:
    # A mean shift of 10 % of two photographs does not show less than 11 % of all of them.
    shift = np.where(np.arange(60) % contents, 5.0, 15.0)
    record = make_record(contents=contents, defended_attacked=np.linspace(20, 80, 60) + shift)
    assert judge(record, thresholds(d_score=Bound(max=11))).status == "inconclusive"


@pytest.mark.parametrize("higher", [True, False], ids=["higher", "lower"])
def test_the_direction_of_a_scale_does_not_change_a_verdict(higher: bool, make_record: MakeRecord) -> None:
    bounds = {
        "srocc_adv": Bound(min=0.9),
        "srocc_clear": Bound(min=0.9),
        "gain": Bound(min=0.5, max=2),
        "headroom": Bound(min=40, max=60),
        "d_score": Bound(max=2),
    }
    found = judge(make_record(images=200, contents=40, higher_is_better=higher), thresholds(**bounds))
    assert {check.measurement.name: check.status for check in found.checks} == dict.fromkeys(bounds, "pass")
    assert found.status == "pass"


# --- the words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "value", "high", "text"),
    [
        (55.04, 63.12, 71.9, "D_score 63.1 [55.0, 71.9] % of range"),
        (-math.inf, 63.12, math.inf, "D_score 63.1 (no interval: too few contents) % of range"),
        (-math.inf, 63.12, 71.9, "D_score 63.1 (no interval: too few contents) % of range"),
        (math.nan, math.nan, math.nan, "D_score is undefined"),
    ],
)
def test_a_measurement_reads_aloud(low: float, value: float, high: float, text: str) -> None:
    assert described(measurement(low, value, high)) == text


def test_a_share_is_told_with_three_digits_and_no_unit_of_its_own() -> None:
    made = Measurement(name="srocc_adv", title="SROCC_adv", unit="", interval=interval(0.1, 0.25, 0.5))
    assert described(made) == "SROCC_adv 0.250 [0.100, 0.500]"


def test_a_check_says_what_was_found_and_what_is_required() -> None:
    check = Check(measurement=measurement(55, 63.12, 71.9), bound=Bound(max=20), status="fail")
    assert str(check) == "fail: D_score 63.1 [55.0, 71.9] % of range; at most 20 is required"


# --- what stands in, and how many images decide -----------------------------------------------------------------------


def test_order_before_and_after_stands_in_for_opinions_that_are_too_few(make_record: MakeRecord) -> None:
    bounds = {"srocc_adv": Bound(min=0.5)}
    few = judge(make_record(), thresholds(**bounds))
    assert [check.name for check in few.checks] == ["srocc_shift"]
    assert few.status == "pass"
    turned = judge(make_record(defended_attacked=np.linspace(80, 20, 60)), thresholds(**bounds))
    assert turned.status == "fail"
    enough = judge(make_record(images=200, contents=50), thresholds(**bounds))
    assert [check.name for check in enough.checks] == ["srocc_adv"]
    own = judge(make_record(), thresholds(**bounds, srocc_shift=Bound(min=0.9)))
    assert [(check.name, check.bound.min) for check in own.checks] == [("srocc_shift", 0.9)]
    assert judge(make_record(images=40), thresholds(**bounds)).checks == ()


def test_an_inconclusive_check_says_how_many_images_would_decide(make_record: MakeRecord) -> None:
    moved = np.linspace(20, 80, 60) + np.random.RandomState(0).uniform(0, 40, 60)
    found = judge(make_record(contents=60, defended_attacked=moved), thresholds(d_score=Bound(max=22)))
    assert found.status == "inconclusive"
    assert "images would decide (now 60 of 60 contents)" in found.reasons[0]
    assert found.checks[0].detectable > 0
    assert found.checks[0].chance is None
    red = judge(make_record(contents=60, defended_attacked=moved), thresholds(d_score=Bound(max=5)))
    assert red.checks[0].chance is not None
    assert red.checks[0].chance < 1e-6
