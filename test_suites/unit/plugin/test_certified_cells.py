"""Certified and soundness cells in a run: what they are called, what selects them, and how they are reported."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from iqa_robustness.errors import ExitCode

CERTIFIED = """
import pytest

@pytest.mark.iqa_cells(scenario="soundness", defense="ms,rs")
def test_sound(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="certified", defense="ms", attack="ifgsm", strength="medium")
def test_certified(pair, cell, gate):
    gate.check(cell, pair)
"""
OWN = "--iqa-metric=own:Fragile"


def items(result: Any) -> set[str]:
    return {line.partition("::")[2] for line in result.outlines if "::" in line}


def test_soundness_cells_have_no_attack_in_their_names_and_are_left_out_by_whoever_names_one(project: Any) -> None:
    project.write("test_gate.py", CERTIFIED)
    sound = {f"test_sound[own:Fragile/{defense}]" for defense in ("ms", "rs")}
    certified = {"test_certified[own:Fragile/ms/ifgsm/medium]"}
    assert items(project.run("--collect-only", "-q", OWN)) == sound | certified
    assert items(project.run("--collect-only", "-q", OWN, "--iqa-scenario=soundness")) == sound
    assert items(project.run("--collect-only", "-q", OWN, "--iqa-attack=ifgsm")) == certified
    assert items(project.run("--collect-only", "-q", OWN, "-m", "scenario(name='soundness')")) == sound


def test_certificates_hold_and_are_reported(project: Any) -> None:
    project.write("test_gate.py", CERTIFIED)
    result = project.run(OWN, "--iqa-images=1", "--alluredir=allure", "-k", "test_sound")
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["soundness: own:Fragile behind *s, raise: 0 of 1 certificates broken inside their radii (p = 1.000)"]
    )
    table = pd.read_parquet(project.path / "reports" / "results.parquet").set_index("defense")
    assert set(table["verdict"]) == {"pass"}
    assert table["certificate_form"].to_dict() == {"ms": "median", "rs": "classification"}
    assert table["broken_p"].tolist() == [1.0, 1.0]
    for name in ("summary.md", "summary.html"):
        assert "Attacks inside the certified radius" in (project.path / "reports" / name).read_text()
    epics = [json.loads(path.read_text())["labels"] for path in (project.path / "allure").glob("*-result.json")]
    assert {label["value"] for labels in epics for label in labels if label["name"] == "epic"} == {
        "Attacks inside the certified radius"
    }

    # Judged again, with a bound of one's own.
    project.write("thresholds.yaml", "version: 1\ndefaults: {soundness: {sampling_error: {max: 0.000001}}}\n")
    again = project.run(OWN, "--iqa-images=1", "--iqa-from-store", "-k", "test_sound and ms")
    assert again.ret == ExitCode.INCONCLUSIVE  # one image has no interval
    again.stdout.fnmatch_lines(["*Sampling error of the smoothed score*at most 1e-06 is required*"])
