"""The store in real runs: nothing is computed twice, a killed run loses one cell at most, workers agree bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode


def test_a_second_run_computes_nothing_and_says_so(project: Any) -> None:
    project.run("--iqa-strength=weak,medium").stdout.fnmatch_lines(["2 computed in this run, 0 taken from the store"])
    before = project.records()
    result = project.run("--iqa-strength=weak,medium")
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(["0 computed in this run, 2 taken from the store"])
    assert project.records() == before


def test_judging_from_the_store_computes_nothing_and_fails_on_what_is_missing(project: Any) -> None:
    project.run("--iqa-strength=weak")
    entries = project.entries()
    judged = project.run("--iqa-strength=weak", "--iqa-from-store")
    assert judged.ret == ExitCode.PASS
    missing = project.run("--iqa-strength=weak,medium", "--iqa-from-store")
    assert missing.ret == ExitCode.MISSING
    missing.assert_outcomes(passed=1, failed=1)
    missing.stdout.fnmatch_lines(
        ["MissingCellError: the cell is not in the store*", "*what to do: run without --iqa-from-store*"]
    )
    assert project.entries() == entries


def test_new_thresholds_are_judged_without_computing(project: Any) -> None:
    project.run("--iqa-strength=strong")
    project.write(
        "thresholds.yaml",
        # Four images never show that a small shift is none; that they shift by less than the whole range, they do.
        "version: 1\ndefaults: {nonadaptive: {d_score: {min: 99}}}\n",
    )
    result = project.run("--iqa-strength=strong", "--iqa-from-store")
    assert result.ret == ExitCode.FAIL


def test_a_changed_metric_is_another_metric_though_its_version_is_not(project: Any) -> None:
    project.run("--iqa-strength=weak")
    project.write("own.py", (project.path / "own.py").read_text().replace("return 200 *", "return 199 *"))
    result = project.run_alone("--iqa-strength=weak", "--iqa-from-store")
    assert result.ret == ExitCode.MISSING


def test_workers_give_the_records_of_one_process(project: Any) -> None:
    alone = project.run("--iqa-store=alone")
    spread = project.run("--iqa-store=spread", "-n", "2")
    assert alone.ret == spread.ret == ExitCode.PASS
    records = project.records("alone")
    assert len(records) == 3
    assert project.records("spread") == records


def test_the_order_of_cells_does_not_change_their_records(project: Any) -> None:
    project.run("--iqa-store=forwards")
    for strength in ("strong", "weak", "medium"):
        project.run("--iqa-store=backwards", f"--iqa-strength={strength}")
    assert project.records("forwards") == project.records("backwards")


def test_each_cell_is_computed_once_however_many_workers_ask(project: Any) -> None:
    project.write(
        "test_gate.py",
        """
        import pytest

        @pytest.mark.iqa_cells(scenario="nonadaptive", defense="none", attack="ifgsm", strength="medium")
        @pytest.mark.parametrize("again", range(6))
        def test_gate(pair, cell, gate, again):
            gate.check(cell, pair)
        """,
    )
    result = project.run("--iqa-metric=own:Slow", "-n", "2")
    result.assert_outcomes(passed=6)
    # Ten steps, one micro-batch; the probe's gradients are counted by two workers, one micro-batch each twice.
    assert (project.path / "attacked").read_text().count("x") == 10 + 2 * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_run_resumes_and_loses_at_most_the_cell_it_was_at(project: Any) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--iqa-metric=own:Slow", "-q"]
    run = subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(project.records()) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    finished = project.records()
    assert 1 <= len(finished) < 3
    result = project.run_alone("--iqa-metric=own:Slow")
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines([f"{3 - len(finished)} computed in this run, {len(finished)} taken from the store"])
    assert finished.items() <= project.records().items()
    assert not [*(project.path / ".iqa-store" / "v1" / "tmp").iterdir()]
    for entry in project.entries():
        assert (entry / "manifest.json").exists()


def test_a_lost_worker_costs_one_cell_and_is_counted_once(project: Any) -> None:
    result = project.run("--iqa-metric=own:Contrast,own:Crashing", "--iqa-strength=weak,medium", "-n", "2")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["2 lost with their worker: *Crashing*"])
