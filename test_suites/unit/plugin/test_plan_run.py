"""`--iqa-plan`: the cells of the items that a run would have, and nothing of the run itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode


def rows_of(result: pytest.RunResult) -> list[list[str]]:
    """Words of the table's lines, without its head."""
    start = next(number for number, line in enumerate(result.outlines) if line.startswith("metric "))
    lines = result.outlines[start + 1 :]
    return [line.split() for line in lines[: lines.index("")]]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_plan_is_of_the_selected_items_and_leaves_no_trace(project: Any, lines: Any) -> None:
    project.write("test_other.py", "def test_other():\n    open('ran', 'w')\n")
    before = files(project.path)
    result = project.run("--iqa-plan", ".", "--junitxml=junit.xml", "--alluredir=allure")
    assert result.ret == 0
    assert rows_of(result)[0][:5] == ["own:Contrast", "nonadaptive", "3", "0", "3"]
    result.stdout.fnmatch_lines(["*processor-hours on cpu; at best * with one worker", "tests without a cell: 1"])
    assert result.parseoutcomes().keys() <= {"warnings"}
    text = lines(result)
    assert "missing" not in text
    assert "image-quality robustness" not in text
    assert files(project.path) == before
    # What narrows a run narrows its plan.
    assert rows_of(project.run("--iqa-plan", "-k", "weak"))[0][2] == "1"
    assert rows_of(project.run("--iqa-plan", "-m", "strength(name='strong')"))[0][2] == "1"
    parts = [project.run("--iqa-plan", f"--iqa-shard={part}/2") for part in (1, 2)]
    assert sum(int(rows_of(part)[-1][1]) for part in parts) == 3
    parts[0].stdout.fnmatch_lines(["shard 1/2: * of 3 items, the others elsewhere"])


def test_a_plan_finds_what_a_run_has_computed_and_keeps_its_reports(project: Any) -> None:
    assert project.run("--iqa-strength=weak").ret == ExitCode.PASS
    before = files(project.path)
    result = project.run("--iqa-plan")
    assert result.ret == 0
    assert rows_of(result)[0][2:5] == ["3", "1", "2"]
    assert files(project.path) == before
    # Another seed is another cell, which takes what the first one took.
    again = json.loads(project.run("--iqa-plan=json", "--iqa-strength=weak", "--iqa-seed=7").stdout.str())
    assert (again["totals"]["computed"], again["totals"]["recorded"]) == (1, 1)
    shutil.rmtree(project.path / ".iqa-store")
    assert project.run("--iqa-plan").ret == 0
    assert not (project.path / ".iqa-store").exists()


def test_workers_are_counted_and_not_started_and_json_stands_alone(project: Any) -> None:
    project.write("conftest.py", "import warnings\nwarnings.warn('something old')\n")
    result = project.run_alone("--iqa-plan=json", "-n", "3", "--iqa-strength=weak,medium", "--alluredir=allure")
    assert result.ret == 0
    document = json.loads(result.stdout.str())
    assert (document["workers"], document["device"], document["totals"]["cells"]) == (3, "cpu", 2)
    assert document["rows"][0]["memory_mebibytes"] is None or document["rows"][0]["memory_mebibytes"] > 50
    assert not {"allure", "reports", ".iqa-store"} & {path.name for path in project.path.iterdir()}


def test_a_metric_that_fails_is_named_and_the_plan_goes_on(project: Any) -> None:
    result = project.run("--iqa-plan", "--iqa-metric=own:Raising,own:NaN,own:Contrast", "--iqa-strength=weak")
    assert result.ret == 0
    assert [row[0] for row in rows_of(result)] == ["own:Contrast", "own:NaN", "own:Raising", "all"]
    result.stdout.fnmatch_lines(["own:NaN cannot be used here: NonFiniteScoreError: *"])


def test_what_a_run_could_not_start_with_a_plan_cannot_either(project: Any, lines: Any) -> None:
    assert project.run("--iqa-plan", "--iqa-metric=no-such").ret == ExitCode.CONFIGURATION
    refused = project.run("--iqa-plan", "--iqa-device=cuda:77")
    assert refused.ret == ExitCode.CONFIGURATION
    assert "no CUDA device" in lines(refused) or "cannot compute here" in lines(refused)
    broken = project.run("--iqa-plan", "-o", "iqa_plan=yaml")
    assert broken.ret == 0, "the command line goes before the ini file"
    broken = project.run("-o", "iqa_plan=yaml")
    assert broken.ret == ExitCode.CONFIGURATION
    assert "iqa_plan = yaml: write one of table, json" in lines(broken)


def test_a_file_that_cannot_be_collected_is_no_plan(project: Any) -> None:
    project.write("test_broken.py", "import no_such_module\n")
    result = project.run("--iqa-plan")
    assert result.ret == ExitCode.INTERRUPTED
    assert "to compute" not in result.stdout.str()


def test_without_any_cell_there_is_nothing_to_plan(project: Any) -> None:
    nothing = project.run("--iqa-plan", "-k", "no_such_item")
    assert nothing.ret == ExitCode.NOTHING_SELECTED
    nothing.stdout.fnmatch_lines(["no cell is selected"])
    document = json.loads(project.run("--iqa-plan=json", "-k", "no_such_item").stdout.str())
    assert (document["rows"], document["totals"]["cells"], document["totals"]["seconds"]) == ([], 0, 0)
