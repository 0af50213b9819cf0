"""`--iqa-licence-policy commercial`: metrics that may not be used so are deselected, and the run says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode

POLICY = "--iqa-licence-policy=commercial"
METRICS = "--iqa-metric=own:Contrast,spaq,koncept,pyiqa:entropy"
ONE = ("--iqa-defense=none", "--iqa-attack=ifgsm", "--iqa-strength=weak")


def _collected(result: pytest.RunResult) -> set[str]:
    return {line.partition("[")[2].partition("/")[0] for line in result.outlines if "::" in line}


def test_by_default_nothing_is_left_out(project: Any, lines: Callable[[Any], str]) -> None:
    result = project.run("--collect-only", "-q", METRICS)
    assert _collected(result) == {"own:Contrast", "spaq", "koncept", "pyiqa:entropy"}
    assert "left out" not in lines(result)


@pytest.mark.parametrize("by_ini", [False, True])
def test_metrics_without_permission_are_deselected_with_the_reason(
    project: Any, lines: Callable[[Any], str], by_ini: bool
) -> None:
    if by_ini:
        ini = "[pytest]\npythonpath = .\niqa_dataset = folder:pictures\niqa_licence_policy = commercial\n"
        project.write("pytest.ini", ini)
    result = project.run("--collect-only", "-q", METRICS, *ONE, *([] if by_ini else [POLICY]))
    assert _collected(result) == {"own:Contrast", "koncept"}
    said = lines(result)
    assert "2 deselected" in said
    assert "left out: spaq: its licence (research and education only) is not known to permit commercial use" in said
    assert "left out: pyiqa:entropy: its licence (PolyForm-Noncommercial-1.0.0)" in said
    assert "left out: koncept" not in said


def test_the_rest_runs_and_the_run_passes(project: Any, lines: Callable[[Any], str]) -> None:
    result = project.run(POLICY, METRICS.replace("koncept,", ""), *ONE)
    assert result.ret == ExitCode.PASS, lines(result)
    result.assert_outcomes(passed=1, deselected=2)
    assert "left out: spaq" in lines(result)


def test_when_nothing_remains_that_is_said_and_the_run_is_no_pass(project: Any, lines: Callable[[Any], str]) -> None:
    result = project.run(POLICY, "--iqa-metric=spaq", *ONE)
    assert result.ret == ExitCode.NOTHING_SELECTED
    assert "left out: spaq" in lines(result)


def test_an_unknown_policy_stops_the_run(project: Any, lines: Callable[[Any], str]) -> None:
    result = project.run("--iqa-licence-policy=comercial")
    assert result.ret == ExitCode.CONFIGURATION
    assert "did you mean commercial?" in lines(result)


def test_with_workers_the_controller_says_it_too(project: Any, lines: Callable[[Any], str]) -> None:
    result = project.run("-n", "1", POLICY, "--iqa-metric=own:Contrast,spaq", *ONE)
    assert result.ret == ExitCode.PASS, lines(result)
    result.assert_outcomes(passed=1)
    assert lines(result).count("left out: spaq") == 1
