"""`iqa-robustness report`: what Allure is asked for, and what is said where it cannot be asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.report_command import PINNED, SINGLE_FILE

ROOT = Path(__file__).parents[3]
# In place of npx: writes down how it was called, and a page.
NPX = """#!/bin/sh
printf '%s\\n' "$@" > called
env | grep ^IQA_ALLURE > settings
mkdir -p reports/allure-report && touch reports/allure-report/index.html
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder after a run, with Node and npx that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports" / "allure-results").mkdir(parents=True)
    (tmp_path / "reports" / "allure-results" / "1-result.json").write_text("{}")
    (tmp_path / "reports" / "summary.html").touch()
    program(tmp_path, "node", "#!/bin/sh\necho v20.20.2\n")
    program(tmp_path, "npx", NPX)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def settings(folder: Path) -> dict[str, str]:
    lines = (folder / "settings").read_text().splitlines()
    return dict(line.removeprefix("IQA_ALLURE_").split("=", 1) for line in lines)


def test_the_pinned_version_is_asked_for_the_results_of_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == ExitCode.PASS
    assert "written: reports/allure-report/index.html, 1 results" in capsys.readouterr().out
    called = (here / "called").read_text().splitlines()
    assert called[:5] == ["--yes", "--prefer-offline", PINNED, "generate", "reports/allure-results"]
    config = Path(called[called.index("--config") + 1])
    assert config.name == "allurerc.mjs"
    assert settings(here) == {
        "RESULTS": str(here / "reports" / "allure-results"),
        "REPORT": str(here / "reports" / "allure-report"),
        "HISTORY": str(here / "reports" / "allure-history.jsonl"),
        "APPEND": "yes",
        "SINGLE": "yes",
    }


def test_the_same_results_enter_the_history_once(here: Path) -> None:
    history = here / "reports" / "allure-history.jsonl"
    result = here / "reports" / "allure-results" / "1-result.json"
    for age, expected in ((-60, "yes"), (60, "no")):
        history.touch()
        os.utime(history, (result.stat().st_mtime + age,) * 2)
        main(["report"])
        assert settings(here)["APPEND"] == expected


def test_large_results_make_a_folder_and_say_how_to_serve_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (here / "reports" / "allure-results" / "large.jpg").open("wb") as file:
        file.truncate(SINGLE_FILE + 1)  # a hole, which takes no space
    main(["report"])
    assert settings(here)["SINGLE"] == "no"
    assert "python -m http.server -d reports/allure-report" in capsys.readouterr().out


def test_without_results_it_says_what_makes_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(here / "reports")
    assert main(["report"]) == ExitCode.CONFIGURATION
    assert "--alluredir=reports/allure-results" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "named"), [("node", "no node"), ("npx", "no npx")])
def test_without_node_the_runs_own_page_is_the_report(
    missing: str, named: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bin" / missing).unlink()
    monkeypatch.setenv("PATH", str(here / "bin"))
    assert main(["report"]) == ExitCode.PASS
    said = capsys.readouterr().out
    assert f"needs Node 20 or newer, and there is {named}" in said
    assert "the run's own report is reports/summary.html" in said
    assert not (here / "called").exists()


def test_an_old_node_is_not_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(here, "node", "#!/bin/sh\necho v18.19.0\n")
    assert main(["report"]) == ExitCode.PASS
    assert "needs Node 20 or newer, and this is v18.19.0; the run's own report is" in capsys.readouterr().out


def test_a_failure_of_npm_is_shown_and_is_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(here, "npx", "#!/bin/sh\necho npm error network >&2\nexit 1\n")
    assert main(["report"]) == ExitCode.INFRASTRUCTURE
    said = capsys.readouterr().out
    assert "npm error network" in said
    assert f"{PINNED} made no report; the run's own report is reports/summary.html" in said


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_report_is_the_command() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/.ready", "report"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [".venv/bin/iqa-robustness", "report"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
@pytest.mark.parametrize("told", [{}, {"IQA_ALLURE_SINGLE": "no", "IQA_ALLURE_APPEND": "no"}])
def test_the_configuration_is_what_node_reads(told: dict[str, str], tmp_path: Path) -> None:
    """Also as a copy in the root of a repository, without any variable."""
    shutil.copy(ROOT / "iqa_robustness" / "reporting" / "templates" / "allurerc.mjs", tmp_path)
    (tmp_path / "reports" / "allure-results").mkdir(parents=True)
    (tmp_path / "reports" / "allure-results" / "categories.json").write_text('[{"name": "Not computed"}]')
    script = 'import("./allurerc.mjs").then(found => console.log(JSON.stringify(found.default)))'
    done = subprocess.run(
        ["node", "-e", script], cwd=tmp_path, env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    config = json.loads(done.stdout)
    assert config["categories"] == [{"name": "Not computed"}]
    assert config["historyPath"] == "reports/allure-history.jsonl"
    options = config["plugins"]["awesome"]["options"]
    assert options["groupBy"] == ["epic", "feature", "story"]
    assert (options["singleFile"], config["appendHistory"]) == (not told, not told)
