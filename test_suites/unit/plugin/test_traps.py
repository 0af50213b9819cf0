"""Command lines that end badly with workers are refused, with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import ExitCode
from iqa_robustness.plugin.traps import is_remote, path_traps


def test_cleaning_allure_results_with_workers_is_refused(project: Any) -> None:
    (project.path / "allure").mkdir()
    (project.path / "allure" / "old-result.json").write_text("{}")
    result = project.run("--alluredir=allure", "--clean-alluredir", "-n", "2")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(
        ["ERROR: --clean-alluredir with workers: *", "*what to do: remove allure before the run*"]
    )
    assert (project.path / "allure" / "old-result.json").exists()


def test_a_path_for_remote_workers_is_refused(project: Any) -> None:
    remote = f"--tx=popen//chdir={project.path}"
    result = project.run(remote, "--dist=load", "test_gate.py")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(
        ["ERROR: test_gate.py with remote workers: *", "*what to do: leave it out; *testpaths*"]
    )
    (project.path / "allure").mkdir()
    result = project.run(remote, "--dist=load", "--alluredir", "allure")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(["ERROR: --alluredir allure with remote workers: *", "*write --alluredir=allure"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("popen", False),
        ("popen//env:A=1", False),
        ("popen//chdir=/x", True),
        ("ssh=host//chdir=/x", True),
        ("socket=h:1", True),
    ],
)
def test_what_pytest_xdist_takes_for_remote(spec: str, expected: bool) -> None:
    assert is_remote(spec) is expected


def test_only_paths_that_exist_here_are_traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    assert path_traps(["--alluredir=tests", "-k", "tests/none", "absent", "-v"], ["absent"]) == []
    (positional,) = path_traps(["-x", "tests::test_a"], ["tests::test_a"])
    assert positional.startswith("tests::test_a with remote workers")
    (short,) = path_traps(["-c", "tests"], [])
    assert "write -ctests" in short
    assert path_traps(["x" * 5000], ["x" * 5000]) == [], "too long for a path is none"
