"""The report that npm's Allure makes of a real run, as a browser shows it. Slow: Allure comes from npm on first use."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None or shutil.which("npx") is None, reason="no Chromium or no Node here"),
]

GATES = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", attack="ifgsm")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="adaptive", attack="ifgsm")
def test_adaptive(pair, cell, gate):
    gate.check(cell, pair)
"""

THRESHOLDS = """
version: 1
defaults:
  nonadaptive: {d_score: {max: 20}}
rules:
  - match: {defense: flip, metric: "own:Fragile"}
    known_weakness: a flip is its own inverse
    tier: blocker
"""

SELECTED = ("--iqa-metric=own:Contrast,own:Fragile,own:NaN", "--iqa-defense=none,flip", "--iqa-strength=strong")
GITLAB = {"GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.example", "CI_PIPELINE_IID": "7", "CI_JOB_NAME": "gate"}


def shown(page: Path, place: str, *, awaited: str) -> str:
    """The text of the document as it stands after its scripts; of a busy machine, the first that has what is awaited.

    The browser's clock leaps over waiting, and now and then over the reading of the report's own data.
    """
    assert BROWSER is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom")
    text = ""
    for _ in range(5):
        done = subprocess.run(
            [BROWSER, *options, f"file://{page}{place}"], capture_output=True, text=True, check=False, timeout=240
        )
        body = re.sub(r"<(script|style)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)
        text = html.unescape(re.sub(r"<[^>]+>", " ", body))
        if awaited in text:
            break
    return text


def test_a_browser_shows_the_cells_their_verdicts_and_the_trend(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("test_gate.py", GATES)
    project.write("thresholds.yaml", THRESHOLDS)
    monkeypatch.chdir(project.path)
    for name in ("GITHUB_ACTIONS", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GITLAB.items():
        monkeypatch.setenv(name, value)
    page = project.path / "reports" / "allure-report" / "index.html"
    for _ in range(2):
        shutil.rmtree(project.path / "reports" / "allure-results", ignore_errors=True)
        project.run(*SELECTED, "--alluredir=reports/allure-results", "-q")
        capsys.readouterr()
        assert main(["report"]) == ExitCode.PASS, capsys.readouterr().out
    assert page.stat().st_size > 1_000_000  # one file: it opens without a server

    overview = shown(page, "", awaited="own:NaN/flip/ifgsm/strong")
    registry = json.loads((page.parent / "test-results.json").read_text())["byId"]
    status = {found["name"]: found["status"] for found in registry.values() if found["name"].count("/none/")}
    assert status == {
        "own:Contrast/none/ifgsm/strong": "passed",
        "own:Fragile/none/ifgsm/strong": "failed",
        "own:NaN/none/ifgsm/strong": "broken",
    }
    # Groups without a failure are closed at first.
    for cell in ("own:Fragile/none/ifgsm/strong", "own:NaN/none/ifgsm/strong", "own:NaN/flip/ifgsm/strong"):
        assert cell in overview
    assert overview.index("own:Fragile/none/ifgsm/strong") < overview.index("own:Contrast")
    for group in ("Non-adaptive attacks", "Adaptive attacks", "own:Fragile", "flip"):
        assert group in overview
    for fact in ("thresholds-sha256", "smoke", "folder:pictures"):
        assert fact in overview
    categories = shown(page, "#categories", awaited="Not computed")
    for category in ("Fails a threshold", "Not computed", "Known weaknesses"):
        assert category in categories

    (red,) = [key for key, found in registry.items() if found["name"] == "own:Fragile/none/ifgsm/strong"]
    detail = shown(page, f"#{red}", awaited="l∞ 8/255")
    assert "at most 20 is required" in detail
    assert "white-box" in detail
    assert "l∞ 8/255" in detail
    assert "Fails a threshold" in detail
    (green,) = [key for key, found in registry.items() if found["name"] == "own:Contrast/none/ifgsm/strong"]
    assert "own:Contrast/none/ifgsm/strong" in shown(page, f"#{green}", awaited="l∞ 8/255")

    history = [
        json.loads(line) for line in (project.path / "reports" / "allure-history.jsonl").read_text().splitlines()
    ]
    assert len(history) == 2
    first, second = ({*run["testResults"]} for run in history)
    assert first == second
    assert len(first) == 9
    assert "Verdicts, run by run" in shown(page, "#charts", awaited="Verdicts, run by run")
    assert (
        os.environ["CI_JOB_NAME"]
        in json.loads((project.path / "reports" / "allure-results" / "executor.json").read_text())["buildName"]
    )
