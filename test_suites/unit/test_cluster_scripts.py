"""The script for Slurm, run as an array would run it: the tasks one after the other, then the judging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "cluster" / "slurm_array.sh"
# What stands for pytest: it says how it was called, and ends as the task before last would.
PYTHON = """#!/bin/sh
echo "$@" >> called
exit "${CODE:-0}"
"""


def submit(folder: Path, *options: str, **variables: str) -> int:
    """As sbatch starts a task: the script in a shell, with the task's variables."""
    variables = {"PYTHON": str(folder / "python"), "IQA_STORE": "/shared/store", **variables}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "IQA_", "JUDGE"))}
    done = subprocess.run(
        ["bash", str(SCRIPT), *options], cwd=folder, env={**kept, **variables}, check=False, capture_output=True
    )
    return done.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Slurm's nodes have a shell")


def test_tasks_call_their_shards_and_the_judge_calls_none(folder: Path) -> None:
    for task in ("1", "2"):
        assert submit(folder, "suite", SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2") == 0
    assert submit(folder, "suite", JUDGE="1") == 0
    common = "-m pytest suite --iqa-store=/shared/store"
    assert (folder / "called").read_text().splitlines() == [
        f"{common} --iqa-shard=1/2 --iqa-reports=reports/shard-1 -p no:cacheprovider",
        f"{common} --iqa-shard=2/2 --iqa-reports=reports/shard-2 -p no:cacheprovider",
        f"{common} --iqa-from-store",
    ]


@pytest.mark.parametrize(
    ("code", "task"), [("0", 0), ("1", 0), ("10", 0), ("11", 0), ("5", 0), ("12", 12), ("13", 13), ("4", 4)]
)
def test_a_verdict_is_left_to_the_judge_and_what_was_not_computed_is_an_error(
    code: str, task: int, folder: Path
) -> None:
    assert submit(folder, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_MAX="3", CODE=code) == task
    assert submit(folder, JUDGE="1", CODE=code) == int(code)


def test_without_a_store_or_an_array_nothing_is_called(folder: Path) -> None:
    assert submit(folder, SLURM_ARRAY_TASK_ID="1", IQA_STORE="") != 0
    assert submit(folder) != 0
    assert not (folder / "called").exists()


@pytest.mark.slow
def test_an_array_of_two_computes_what_one_run_does(pytester: pytest.Pytester) -> None:
    example = SCRIPT.parents[1] / "own-metric"
    for path in example.iterdir():
        if path.is_file():
            (pytester.path / path.name).write_bytes(path.read_bytes())
    options = ("--iqa-images=6", "--iqa-attack=ifgsm", "--iqa-strength=weak,medium")
    facts: dict[str, Any] = {"PYTHON": sys.executable, "IQA_STORE": str(pytester.path / "shared")}
    for task in ("1", "2"):
        assert submit(pytester.path, *options, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2", **facts) == 0
    judged = submit(pytester.path, *options, JUDGE="1", **facts)
    alone = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--iqa-store=alone"], check=False, cwd=pytester.path
    )
    assert judged == alone.returncode
    found = [
        {path.parent.name: path.read_bytes() for path in (pytester.path / store).glob("v1/entries/*/*/record.parquet")}
        for store in ("shared", "alone")
    ]
    assert found[0].keys() == found[1].keys()
    assert all(found[0][key] == found[1][key] for key in found[0])
