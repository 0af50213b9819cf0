"""Transfers in a run: ids that name their source, selection by them, informing unless gated, and the reports."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from iqa_robustness.errors import ExitCode

TRANSFERS = """
import pytest

@pytest.mark.iqa_cells(scenario="transfer", between="defenses", defense="none,flip")
def test_defenses(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="transfer", between="metrics")
def test_metrics(pair, cell, gate):
    gate.check(cell, pair)
"""
BOTH = "--iqa-metric=own:Contrast,own:Fragile"


def items(result: Any) -> set[str]:
    return {line.partition("::")[2] for line in result.outlines if "::" in line}


def test_ids_name_the_source_and_select_by_it(project: Any) -> None:
    project.write("test_gate.py", TRANSFERS)
    found = items(project.run("--collect-only", "-q", BOTH))
    assert len(found) == 12
    fragile = "own:Fragile/none"
    assert f"test_metrics[own:Contrast/none/ifgsm/medium/from:{fragile}]" in found
    chosen = items(project.run("--collect-only", "-q", BOTH, "-k", f"from:{fragile}"))
    assert chosen == {name for name in found if f"from:{fragile}]" in name}
    assert len(chosen) == 4
    assert not items(project.run("--collect-only", "-q", BOTH, "--iqa-scenario=adaptive"))


def test_a_misspelt_choice_is_a_configuration_error(project: Any) -> None:
    project.write("test_gate.py", TRANSFERS.replace('"defenses"', '"defences"'))
    result = project.run("--collect-only", "-q", BOTH)
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(["*unknown choice of between 'defences'*"])


def test_transfers_inform_and_are_reported_as_matrices(project: Any) -> None:
    project.write("test_gate.py", TRANSFERS)
    result = project.run(BOTH, "--alluredir=allure")
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=12)
    reports = project.path / "reports"
    for name in ("summary.md", "summary.html"):
        text = (reports / name).read_text()
        assert "own:Contrast: ifgsm medium, from each defense to each" in text
        assert "undefended metrics: ifgsm medium, from each metric to each" in text
    table = pd.read_parquet(reports / "results.parquet")
    # The white-box cells of undefended metrics are items of both tests, and one cell each.
    assert len(table) == 10
    assert set(table["verdict"]) == {"informing"}
    gains = table[table["metric"] == "own:Fragile"].set_index(["defense", "source"])["gain_defended"]
    assert gains["none", "own:Fragile/none"] > 5 * abs(gains["none", "own:Contrast/none"])
    epics = [json.loads(path.read_text())["labels"] for path in (project.path / "allure").glob("*-result.json")]
    assert {label["value"] for labels in epics for label in labels if label["name"] == "epic"} == {
        "Attacks on other defenses and metrics"
    }


def test_a_threshold_of_its_own_gates_a_transfer(project: Any) -> None:
    project.write("test_gate.py", TRANSFERS)
    project.write("thresholds.yaml", "version: 1\ndefaults: {transfer: {d_score: {max: 0.001}}}\n")
    result = project.run(BOTH, "-k", "from:own:Fragile/none and test_metrics and Contrast")
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["*fail: transfer:own:Contrast/none/ifgsm/medium/from:own:Fragile/none"])
