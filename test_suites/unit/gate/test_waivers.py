"""Waivers: what they must say, when they hold, and what an expired one does to a verdict."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import ExitCode, ThresholdsFileError
from iqa_robustness.gate.thresholds import Bound, CellThresholds, Thresholds
from iqa_robustness.gate.verdict import judge
from iqa_robustness.gate.waivers import SOON, Waiver
from iqa_robustness.store import Record

MakeCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]
LAST = datetime.date(2026, 12, 31)
AFTER = LAST + datetime.timedelta(days=1)
WAIVER = Waiver(reason="waits for new weights", owner="ana", issue="https://example.org/7", expires=LAST)
RULE = """\
version: 1
defaults: {nonadaptive: {d_score: {max: 20}}}
rules:
  - match: {metric: compact}
    waiver:
      reason: waits for new weights
      owner: ana
      issue: https://example.org/7
      expires: 2026-12-31
"""


def test_a_waiver_holds_on_its_last_day_and_not_on_the_next() -> None:
    assert (WAIVER.expired(LAST), WAIVER.expired(AFTER)) == (False, True)


@given(days=st.integers(-400, 400))
def test_expired_soon_and_neither_exclude_each_other(days: int) -> None:
    today = LAST - datetime.timedelta(days=days)
    assert WAIVER.expired(today) == (days < 0)
    assert WAIVER.expires_soon(today) == (0 <= days < SOON)


def test_a_waiver_says_who_answers_for_what_and_until_when() -> None:
    assert str(WAIVER) == "waits for new weights (waived until 2026-12-31 by ana, https://example.org/7)"


@pytest.mark.parametrize(
    "wrong", [{"owner": ""}, {"reason": "later"}, {"issue": "JIRA-7"}, {"expires": "2026-12-31"}, {"until": LAST}]
)
def test_a_waiver_must_say_all_of_it(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Waiver.model_validate({**WAIVER.model_dump(), **wrong})


def test_a_rule_gives_its_waiver_and_the_line_of_it(make_cell: MakeCell) -> None:
    found = Thresholds.from_text(RULE, Path("thresholds.yaml")).for_cell(make_cell(metric="compact"))
    assert (found.waiver, found.origin["waiver"], found.known_weakness) == (WAIVER, 5, "")
    assert Thresholds.from_text(RULE, Path("thresholds.yaml")).for_cell(make_cell(metric="lite0")).waiver is None


@pytest.mark.parametrize(
    ("line", "instead", "number", "what"),
    [
        ("      owner: ana\n", "", 5, "rules.0.waiver.owner"),
        ("      expires: 2026-12-31", "      expires: soon", 9, "valid date"),
        ("      owner: ana", "      ownr: ana", 7, "unknown key 'ownr'"),
        ("    waiver:", "    known_weakness: it is known for long\n    waiver:", 4, "known for good or waived"),
    ],
)
def test_a_mistake_names_its_line(line: str, instead: str, number: int, what: str) -> None:
    with pytest.raises(ThresholdsFileError, match=what) as caught:
        Thresholds.from_text(RULE.replace(line, instead), Path("thresholds.yaml"))
    assert caught.value.where.line == number


# The D_score of the factory's record is 0.95 [0.92, 0.98].
BOUNDS = {"pass": Bound(max=20), "fail": Bound(max=0.5), "inconclusive": Bound(max=0.95)}


@pytest.mark.parametrize(
    ("status", "today", "expected", "code"),
    [
        ("fail", LAST, True, ExitCode.PASS),
        ("inconclusive", LAST, True, ExitCode.PASS),
        ("pass", LAST, False, ExitCode.FAIL),  # not needed any more
        ("fail", AFTER, False, ExitCode.FAIL),
        ("inconclusive", AFTER, False, ExitCode.FAIL),
        ("pass", AFTER, False, ExitCode.FAIL),  # the dead rule goes
        ("fail", None, True, ExitCode.PASS),
    ],
)
def test_a_waiver_excuses_until_it_expires_and_then_fails(
    status: str, today: datetime.date | None, expected: bool, code: ExitCode, make_record: MakeRecord
) -> None:
    thresholds = CellThresholds(bounds={"d_score": BOUNDS[status]}, waiver=WAIVER)
    found = judge(make_record(), thresholds, today=today)
    assert (found.status, found.expected, found.exit_code) == (status, expected, code)
    assert found.waiver_expired == (today == AFTER)
    assert bool(found.weakness) == (today != AFTER)


def test_what_proves_nothing_is_not_waived(make_record: MakeRecord) -> None:
    for today in (LAST, AFTER):
        thresholds = CellThresholds(bounds={"d_score": Bound(max=20)}, waiver=WAIVER)
        found = judge(make_record(proof=(0.0,) * 8), thresholds, today=today)
        assert (found.status, found.exit_code) == ("invalid", ExitCode.INVALID)


def test_a_weakness_known_for_good_outlives_the_waiver_of_another_rule(make_record: MakeRecord) -> None:
    thresholds = CellThresholds(bounds={"d_score": BOUNDS["fail"]}, waiver=WAIVER, known_weakness="known for good")
    assert judge(make_record(), thresholds, today=LAST).weakness == "known for good"
    assert judge(make_record(), thresholds, today=AFTER).weakness == "known for good"


@pytest.mark.parametrize(
    ("tier", "status", "code"),
    [
        ("blocker", "fail", ExitCode.FAIL),
        ("blocker", "inconclusive", ExitCode.FAIL),
        ("critical", "fail", ExitCode.FAIL),
        ("critical", "inconclusive", ExitCode.INCONCLUSIVE),
        ("normal", "fail", ExitCode.INCONCLUSIVE),
        ("normal", "inconclusive", ExitCode.INCONCLUSIVE),
        ("blocker", "pass", ExitCode.PASS),
        ("normal", "pass", ExitCode.PASS),
    ],
)
def test_a_tier_says_what_a_violation_ends_a_run_with(
    tier: str, status: str, code: ExitCode, make_record: MakeRecord
) -> None:
    thresholds = CellThresholds(bounds={"d_score": BOUNDS[status]}, tier=tier)  # type: ignore[arg-type]
    found = judge(make_record(), thresholds)
    assert (found.status, found.exit_code) == (status, code)


# --- taken back -----------------------------------------------------------------------------------------------------

TAKEN_BACK = """\
version: 1
defaults: {nonadaptive: {d_score: {max: 20}}}
rules:
  - match: {defense: flip}
    tier: normal
    known_weakness: a flip is invertible
  - match: {defense: flip, metric: lite0}
    declared: false
  - match: {defense: flip, metric: lite0, attack: square}
    known_weakness: queries see through it
"""


def loaded(text: str, folder: Path) -> Thresholds:
    path = folder / "thresholds.yaml"
    path.write_text(text, encoding="utf-8")
    return Thresholds.load(path)


def test_a_more_specific_rule_takes_a_declaration_back_and_nothing_else(tmp_path: Path, make_cell: MakeCell) -> None:
    thresholds = loaded(TAKEN_BACK, tmp_path)
    compact, lite0, square = (
        thresholds.for_cell(make_cell(metric=metric, attack=attack))
        for metric, attack in (("compact", "ifgsm"), ("lite0", "ifgsm"), ("lite0", "square"))
    )
    assert (compact.known_weakness, compact.origin["known_weakness"]) == ("a flip is invertible", 6)
    assert (lite0.known_weakness, "known_weakness" in lite0.origin) == ("", False)
    assert (lite0.tier, lite0.bounds) == ("normal", compact.bounds)
    assert (square.known_weakness, square.origin["known_weakness"]) == ("queries see through it", 10)


def test_a_waiver_is_taken_back_likewise(tmp_path: Path, make_cell: MakeCell) -> None:
    rule = "  - match: {metric: compact, attack: ifgsm}\n    declared: false\n"
    thresholds = loaded(RULE + rule, tmp_path)
    assert thresholds.for_cell(make_cell(attack="ifgsm")).waiver is None
    assert thresholds.for_cell(make_cell(attack="square")).waiver == WAIVER


def test_a_cell_whose_declaration_is_taken_back_passes_or_fails_as_any_other(
    tmp_path: Path, make_cell: MakeCell, make_record: MakeRecord
) -> None:
    thresholds = loaded(TAKEN_BACK, tmp_path)
    # Of the tier `normal`, a failure ends the run with 10.
    for metric, attacked, status, code in (
        ("compact", 80.0, "fail", ExitCode.PASS),
        ("lite0", 80.0, "fail", ExitCode.INCONCLUSIVE),
        ("compact", 51.0, "pass", ExitCode.FAIL),  # a known weakness that is none
        ("lite0", 51.0, "pass", ExitCode.PASS),
    ):
        record = make_record(clean=50.0, attacked=attacked, defended_attacked=attacked)
        verdict = judge(record, thresholds.for_cell(make_cell(metric=metric)), today=LAST)
        assert (verdict.status, verdict.exit_code) == (status, code), (metric, attacked)


def test_a_rule_does_not_declare_and_take_back_at_once(tmp_path: Path) -> None:
    for wrong in ("    declared: false\n    known_weakness: a flip is invertible\n", "    declared: true\n"):
        with pytest.raises(ThresholdsFileError) as caught:
            loaded(f"version: 1\ndefaults: {{}}\nrules:\n  - match: {{metric: compact}}\n{wrong}", tmp_path)
        assert caught.value.where.line in (4, 5)
        assert "take it back" in str(caught.value) or "Input should be False" in str(caught.value)
