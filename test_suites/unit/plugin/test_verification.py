"""verdict.json and `iqa-robustness verify`: the same conclusions again, or what differs and why."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.verdict_file import digest_of

WAIVED = """
    version: 1
    defaults: {nonadaptive: {d_score: {max: 20}}}
    rules:
      - match: {metric: "own:Fragile"}
        waiver: {reason: waits for new weights, owner: ana, issue: "https://example.org/7", expires: 2999-12-31}
"""


def verify(project: Any, *options: str) -> int:
    reports = str(project.path / "reports" / "verdict.json")
    thresholds = str(project.path / "thresholds.yaml")
    store = str(project.path / ".iqa-store")
    return main(["verify", reports, "--iqa-store", store, "--iqa-thresholds", thresholds, *options])


@pytest.fixture
def judged(project: Any) -> Any:
    """A project after a run with one cell that passes, one that fails and one that is waived."""
    project.write("thresholds.yaml", WAIVED)
    project.run("--iqa-metric=own:Fragile,own:Contrast,own:Flat", "--iqa-strength=strong")
    return project


def document(project: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.path / "reports" / "verdict.json").read_text(encoding="utf-8"))
    return found


def test_what_a_run_concluded_is_concluded_again(judged: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = document(judged)
    statuses = {cell["name"].split("/")[0]: (cell["status"], cell["expected"]) for cell in said["cells"]}
    assert statuses["nonadaptive:own:Fragile"] == ("fail", True)
    assert statuses["nonadaptive:own:Flat"] == ("invalid", False)
    assert statuses["nonadaptive:own:Contrast"][0] == "pass"
    assert said["exit_code"] == ExitCode.INVALID
    assert all(len(cell["record_sha256"]) == 64 for cell in said["cells"])
    assert verify(judged) == 0
    assert "3 cells, 0 differences" in capsys.readouterr().out


def test_other_thresholds_are_named_with_what_they_change(judged: Any, capsys: pytest.CaptureFixture[str]) -> None:
    judged.write("thresholds.yaml", WAIVED.replace("max: 20", "max: 0.001"))
    assert verify(judged) == ExitCode.FAIL
    out = capsys.readouterr().out
    assert "is not the file of the run" in out
    assert "own:Contrast/none/ifgsm/strong: status was pass, is inconclusive" in out


def test_an_edited_verdict_is_refused_and_an_edited_conclusion_found(
    judged: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = judged.path / "reports" / "verdict.json"
    said = document(judged)
    flat = next(cell for cell in said["cells"] if "Flat" in cell["name"])
    flat["status"] = "pass"
    path.write_text(json.dumps(said), encoding="utf-8")
    assert verify(judged) == ExitCode.CONFIGURATION
    assert "changed after it was written" in capsys.readouterr().err
    path.write_text(json.dumps({**said, "sha256": digest_of(said)}), encoding="utf-8")
    assert verify(judged) == ExitCode.FAIL
    assert "status was pass, is invalid" in capsys.readouterr().out


def test_a_record_that_is_gone_or_another_is_named(judged: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = document(judged)
    said["cells"][0]["record_sha256"] = "0" * 64
    said["sha256"] = digest_of(said)
    (judged.path / "reports" / "verdict.json").write_text(json.dumps(said), encoding="utf-8")
    gone = said["cells"][1]["record"]
    shutil.rmtree(judged.path / ".iqa-store" / "v1" / "entries" / gone[:2] / gone)
    assert verify(judged) == ExitCode.FAIL
    out = capsys.readouterr().out
    assert "holds other numbers than the run judged" in out
    assert f"the record {gone[:12]} is not in the store" in out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99, "sha256": ""}'])
def test_what_is_no_verdict_is_refused(text: str, project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (project.path / "reports").mkdir()
    (project.path / "reports" / "verdict.json").write_text(text, encoding="utf-8")
    assert verify(project) == ExitCode.CONFIGURATION
    assert "VerdictFileError" in capsys.readouterr().err
