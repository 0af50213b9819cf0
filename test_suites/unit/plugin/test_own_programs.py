"""Metrics that are programs or answer queries only: gated by black-box attacks; white-box ones do not apply."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode

PROGRAM = """
import json, sys

def main():
    request = json.load(sys.stdin)
    if request["request"] == "describe":
        return {{"score_range": [0, 128], "higher_is_better": True, "timeout": {timeout}}}
    from PIL import Image, ImageStat
    scores = [ImageStat.Stat(Image.open(path).convert("L")).stddev[0] for path in request["images"]]
    {then}
    return {{"scores": scores}}

print(json.dumps(main()))
"""
LOOP = """
import json, sys
from PIL import Image, ImageStat

for line in sys.stdin:
    request = json.loads(line)
    if request["request"] == "describe":
        answer = {"score_range": [0, 128], "higher_is_better": True, "persistent": True}
    else:
        answer = {"scores": [ImageStat.Stat(Image.open(path).convert("L")).stddev[0] for path in request["images"]]}
    print(json.dumps(answer), flush=True)
"""
SUITE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none", strength="medium")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)
"""
OWN = """
from iqa_robustness.metrics import from_function

def contrast(images):
    return 200 * images[:, 0].std(dim=(1, 2))

ready = from_function(contrast, name="contrast", score_range=(0, 100), higher_is_better=True, access="query-only")

def made():
    return ready
"""
SHORT = ("--iqa-max-queries=80", "--iqa-dataset=folder:pictures")


@pytest.fixture
def programs(project: Any) -> Any:
    project.write("test_gate.py", SUITE)
    project.write("functions.py", OWN)
    return project


def command(project: Any, then: str = "pass", *, timeout: float = 60) -> str:
    project.write("contrast.py", PROGRAM.format(then=then, timeout=timeout))
    return f"exec:{shlex.quote(sys.executable)} contrast.py"


def test_a_program_is_gated_by_square_and_gradients_do_not_apply(programs: Any) -> None:
    programs.write("loop.py", LOOP)
    metric = f"exec:{shlex.quote(sys.executable)} loop.py"
    programs.write(
        "thresholds.yaml",
        f"""
        version: 1
        defaults: {{nonadaptive: {{d_score: {{max: 0.0001}}}}}}
        rules:
          - match: {{metric: "{metric}"}}
            thresholds: {{d_score: {{max: 50}}}}
        """,
    )
    result = programs.run(f"--iqa-metric={metric}", "-v", *SHORT)
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines([f"*::test_gate[[]{metric}/none/square/medium] PASSED*"])
    result.stdout.fnmatch_lines(
        [f"1 cell not applicable, deselected: ifgsm needs gradients, and {metric} answers queries only"]
    )
    again = programs.run(f"test_gate.py::test_gate[{metric}/none/square/medium]", f"--iqa-metric={metric}", *SHORT)
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["0 computed in this run, 1 taken from the store"])


@pytest.mark.parametrize(
    ("then", "error", "what", "timeout"),
    [
        ("__import__('time').sleep(100)", "ProgramTimeoutError", "did not answer", 0.5),
        ("raise OSError('no such layer')", "ProgramCrashError", "exit code 1", 60),
        ("scores.pop()", "ScoreShapeError", "3 scores for 4 images", 60),
    ],
)
def test_a_faulty_program_leaves_its_cell_missing(
    programs: Any, then: str, error: str, what: str, timeout: float
) -> None:
    metric = command(programs, then, timeout=timeout)
    result = programs.run(f"--iqa-metric={metric}", *SHORT)
    assert result.ret == ExitCode.MISSING
    result.stdout.fnmatch_lines(
        [f"{error}: *{what}*", "*where: metric=exec:*contrast.py, *attack=square*image=probe-0*", "*what to do: *"]
    )
    assert "Traceback" not in result.stdout.str() or error == "ProgramCrashError"


def test_a_program_that_declares_nothing_stops_the_run(programs: Any) -> None:
    programs.write("silent.py", "print('{}')")
    result = programs.run(f"--iqa-metric=exec:{shlex.quote(sys.executable)} silent.py", *SHORT)
    assert result.ret == ExitCode.CONFIGURATION
    result.stdout.fnmatch_lines(["MetricDeclarationError: *does not declare its score_range*", "*what to do: answer*"])


def test_white_box_alone_selects_nothing(programs: Any) -> None:
    result = programs.run("--iqa-metric=exec:never started", "--iqa-attack=ifgsm", *SHORT)
    assert result.ret == ExitCode.NOTHING_SELECTED
    result.assert_outcomes(deselected=1)
    result.stdout.fnmatch_lines(["1 cell not applicable, deselected: ifgsm needs gradients*"])


def test_a_query_only_function_is_gated_by_square_alone(programs: Any) -> None:
    result = programs.run("--iqa-metric=functions:ready", *SHORT)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["1 cell not applicable, deselected: *functions:ready answers queries only"])


def test_a_metric_that_says_so_late_is_skipped_and_judges_nothing(programs: Any) -> None:
    result = programs.run("--iqa-metric=functions:made", "--iqa-attack=ifgsm", *SHORT)
    assert result.ret == ExitCode.NOTHING_SELECTED
    result.assert_outcomes(skipped=1)
    result = programs.run("--iqa-metric=functions:made", "-rs", *SHORT)
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*not applicable: ifgsm needs gradients*"])


def test_workers_tell_what_does_not_apply(programs: Any) -> None:
    result = programs.run("--iqa-metric=exec:never started", "--iqa-attack=ifgsm", "-n", "1", *SHORT)
    assert result.ret == ExitCode.NOTHING_SELECTED
    result.stdout.fnmatch_lines(["1 cell not applicable, deselected: *exec:never started answers queries only"])
