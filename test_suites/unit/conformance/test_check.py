"""The runner: one finding a check, whatever a check meets."""

from __future__ import annotations

import pytest
import torch

from iqa_robustness.conformance.check import Check, Finding, NotApplicable, Outcome, examined, require
from iqa_robustness.errors import ConformanceError, ExitCode, NonFiniteScoreError, Where


def works(subject: str) -> str:
    return f"{subject} is fine"


def breaks(subject: str) -> str:
    raise ConformanceError(f"{subject} is broken", fix="mend it")


def is_named(subject: str) -> str:
    raise NonFiniteScoreError("the metric returned nan", where=Where(metric=subject, image="b"), fix="divide less")


def says_nothing(subject: str) -> str:
    raise NotApplicable(f"{subject} has no wheels")


def crashes(subject: str) -> str:
    return str(torch.zeros(2) @ torch.zeros(3))


def a_check(function: object, *, essential: bool = False) -> Check[str]:
    name = function.__name__  # type: ignore[attr-defined]
    return Check(name=name, title=f"it {name}", function=function, essential=essential)  # type: ignore[arg-type]


def found(*functions: object) -> list[Finding]:
    return [*examined([a_check(function) for function in functions], "bicycle")]


def test_each_check_has_its_finding_in_order() -> None:
    findings = found(works, breaks, says_nothing, works)
    assert [finding.check for finding in findings] == ["works", "breaks", "says_nothing", "works"]
    assert [finding.outcome for finding in findings] == [
        Outcome.OK,
        Outcome.FAILED,
        Outcome.NOT_APPLICABLE,
        Outcome.OK,
    ]
    assert [finding.text for finding in findings[:3]] == [
        "bicycle is fine",
        "bicycle is broken",
        "bicycle has no wheels",
    ]
    assert [finding.fix for finding in findings] == ["", "mend it", "", ""]
    assert findings[0].title == "it works"
    assert all(finding.seconds >= 0 for finding in findings)


def test_an_error_of_ours_is_a_failure_with_its_place_and_advice() -> None:
    (finding,) = found(is_named)
    assert finding.outcome is Outcome.FAILED
    assert finding.text == "the metric returned nan (metric=bicycle, image=b)"
    assert finding.fix == "divide less"


def test_any_exception_is_a_failure_that_says_where_it_happened() -> None:
    (finding,) = found(crashes)
    assert finding.outcome is Outcome.FAILED
    assert finding.text.startswith("RuntimeError: ")
    assert f"(at {__file__}:" in finding.text
    assert "ImageContractError" in finding.fix


def test_the_user_can_stop_it() -> None:
    def stopped(_: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(stopped)


def test_where_an_essential_check_fails_the_others_are_left_out() -> None:
    checks = [a_check(works), a_check(breaks, essential=True), a_check(crashes), a_check(works)]
    findings = [*examined(checks, "bicycle")]
    assert [finding.outcome for finding in findings[2:]] == [Outcome.NOT_APPLICABLE] * 2
    assert findings[2].text == "not looked at, since 'breaks' failed"


@pytest.mark.parametrize("function", [works, says_nothing])
def test_an_essential_check_that_does_not_fail_leaves_none_out(function: object) -> None:
    findings = [*examined([a_check(function, essential=True), a_check(works)], "bicycle")]
    assert findings[1].outcome is Outcome.OK


def test_a_finding_is_there_before_the_next_check_begins() -> None:
    seen: list[str] = []

    def notes(_: str) -> str:
        seen.append("begun")
        return ""

    arriving = examined([a_check(works), a_check(notes)], "bicycle")
    next(arriving)
    assert seen == []
    next(arriving)
    assert seen == ["begun"]


def test_a_promise_that_is_not_kept_is_an_error_of_exit_code_1() -> None:
    require(True, "never said", fix="nothing")
    with pytest.raises(ConformanceError, match="two wheels") as caught:
        require(False, "it has no two wheels", fix="add one")
    assert caught.value.fix == "add one"
    assert caught.value.exit_code == ExitCode.FAIL
