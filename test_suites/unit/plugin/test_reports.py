"""What a run leaves: Allure results, JUnit properties, summary.md, summary.html, results.parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

ALL = ("--alluredir=allure", "--iqa-metric=own:Contrast,own:Fragile", "--iqa-strength=medium,strong")


def results(project: Any, folder: str = "allure") -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((project.path / folder).glob("*-result.json"))]


def labels(result: dict[str, Any], name: str) -> list[str]:
    return [label["value"] for label in result["labels"] if label["name"] == name]


def attachment(project: Any, result: dict[str, Any], name: str) -> Path:
    (found,) = [a for a in result["attachments"] if a["name"].startswith(name)]
    return Path(project.path / "allure" / found["source"])


@pytest.fixture
def run(project: Any) -> Any:
    project.run(*ALL, "--junitxml=junit.xml")
    return project


def test_allure_labels_say_where_a_cell_belongs(run: Any) -> None:
    found = {result["name"]: result for result in results(run)}
    assert set(found) == {
        f"own:{metric}/none/ifgsm/{strength}" for metric in ("Contrast", "Fragile") for strength in ("medium", "strong")
    }
    red = found["own:Fragile/none/ifgsm/strong"]
    assert labels(red, "epic") == ["Non-adaptive attacks"]
    assert labels(red, "feature") == ["own:Fragile"]
    assert labels(red, "story") == ["none"]
    assert labels(red, "severity") == ["critical"]
    assert {"white-box", "restriction: linf", "verdict: fail"} <= set(labels(red, "tag"))
    assert {parameter["name"]: parameter["value"] for parameter in red["parameters"]} == {
        "pair": "'own:Fragile/none'",
        "cell": "'nonadaptive:own:Fragile/none/ifgsm/strong'",
    }


def test_allure_status_tells_violations_from_breakage(project: Any) -> None:
    project.run("--alluredir=allure", "--iqa-metric=own:Contrast,own:Fragile,own:NaN", "--iqa-strength=strong")
    status = {result["fullName"] + result["parameters"][1]["value"]: result["status"] for result in results(project)}
    assert sorted(status.values()) == ["broken", "failed", "passed"]
    assert next(s for name, s in status.items() if "NaN" in name) == "broken"


def test_history_ids_are_stable_between_runs_and_unique_in_one(project: Any) -> None:
    for folder in ("first", "second"):
        project.run("--iqa-metric=own:Contrast,own:Fragile", f"--alluredir={folder}")
    first, second = ({r["historyId"]: r["name"] for r in results(project, folder)} for folder in ("first", "second"))
    assert len(first) == 6
    assert first == second


def test_the_record_is_attached_as_csv(run: Any) -> None:
    red = next(r for r in results(run) if r["name"] == "own:Fragile/none/ifgsm/strong")
    rows = [*csv.DictReader(io.StringIO(attachment(run, red, "record.csv").read_text()))]
    assert [row["id"] for row in rows] == [f"picture{number}" for number in range(4)]
    assert all(float(row["linf"]) == pytest.approx(8 / 255) for row in rows)


def test_pictures_show_the_worst_images(run: Any) -> None:
    for name, rows in (("own:Fragile/none/ifgsm/strong", 3), ("own:Contrast/none/ifgsm/strong", 1)):
        result = next(r for r in results(run) if r["name"] == name)
        with Image.open(attachment(run, result, f"worst images ({rows})")) as sheet:
            assert sheet.width >= 3 * 256
            assert rows * 192 < sheet.height < (rows + 1) * 240
        assert attachment(run, result, "score shift").read_text().startswith("<?xml")


@pytest.mark.parametrize(("choice", "expected"), [("none", []), ("all", ["score shift", "worst images (4)"])])
def test_attachments_can_be_left_out_or_complete(project: Any, choice: str, expected: list[str]) -> None:
    project.run("--alluredir=allure", "--iqa-strength=strong", f"--iqa-attachments={choice}")
    (result,) = results(project)
    names = [a["name"] for a in result["attachments"]]
    assert [name for name in names if name not in ("record.csv", "meta.json", "run this cell again")] == expected
    page = (project.path / "reports" / "summary.html").read_text()
    assert page.count("data:image/webp") == (0 if choice == "none" else 3)


def test_the_attached_command_runs_that_cell_alone(run: Any) -> None:
    red = next(r for r in results(run) if r["name"] == "own:Fragile/none/ifgsm/strong")
    command = shlex.split(attachment(run, red, "run this cell again").read_text())
    assert command[0] == "pytest"
    again = run.run(*command[1:], "--collect-only", "-q")
    assert [line for line in again.outlines if "::" in line] == [
        "test_gate.py::test_gate[own:Fragile/none/ifgsm/strong]"
    ]


def test_allure_knows_the_run_and_its_categories(run: Any) -> None:
    facts = dict(
        line.split("=", 1) for line in (run.path / "allure" / "environment.properties").read_text().splitlines()
    )
    assert facts["profile"] == "smoke"
    assert facts["images"] == "folder:pictures"
    categories = json.loads((run.path / "allure" / "categories.json").read_text())
    assert "Known weaknesses" in [category["name"] for category in categories]


def test_junit_carries_the_numbers(run: Any) -> None:
    cases = ElementTree.parse(run.path / "junit.xml").getroot().iter("testcase")
    found = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in cases}
    red = found["test_gate[own:Fragile/none/ifgsm/strong]"]
    assert red["verdict"] == "fail"
    assert float(red["d_score"]) > 20
    assert len(red["record"]) == 64


def test_junit_properties_survive_workers(project: Any) -> None:
    project.run("--iqa-strength=medium,strong", "--junitxml=junit.xml", "-n", "2")
    cases = [*ElementTree.parse(project.path / "junit.xml").getroot().iter("testcase")]
    assert len(cases) == 2
    assert all(any(p.get("name") == "d_score" for p in case.iter("property")) for case in cases)


def test_the_table_of_results_has_every_cell_with_its_bounds(run: Any) -> None:
    table = pd.read_parquet(run.path / "reports" / "results.parquet").set_index(["metric", "strength"])
    assert len(table) == 4
    red = table.loc[("own:Fragile", "strong")]
    assert red["verdict"] == "fail"
    assert red["d_score_low"] <= red["d_score"] <= red["d_score_high"]
    assert red["mos_kind"] == "human"


def test_the_summaries_name_metric_defense_and_reason(run: Any) -> None:
    markdown = (run.path / "reports" / "summary.md").read_text()
    assert "4 cells: 2 fail, 2 pass." in markdown
    assert "| own:Fragile | none | ❌ fail | ifgsm/strong, nonadaptive |" in markdown
    assert "`nonadaptive:own:Fragile/none/ifgsm/strong`: fail: D_score" in markdown
    page = (run.path / "reports" / "summary.html").read_text()
    assert "nonadaptive:own:Fragile/none/ifgsm/strong" in page
    assert "://" not in page
    assert page.count("data:image/webp") == 3 * 4
    assert "No pictures" not in page
    assert page.count('<svg class="histogram"') == 4
    assert "pytest &#39;test_gate.py::test_gate[own:Fragile/none/ifgsm/strong]&#39; " in page
    digest = hashlib.sha256((run.path / "thresholds.yaml").read_bytes()).hexdigest()
    assert digest in page
    assert "<dt>store</dt><dd>.iqa-store</dd>" in page


def test_the_terminal_table_shows_the_worst_attack_of_each_pair(project: Any) -> None:
    result = project.run(*ALL)
    result.stdout.fnmatch_lines(
        [
            "*metric *defense *verdict *worst attack *D_score % *95 % *÷ SD *placebo *noise *SROCC → adv *cells*",
            "*own:Contrast *none *pass *ifgsm/strong, nonadaptive *2*",
            "*own:Fragile *none *fail *ifgsm/strong, nonadaptive *2*",
            "4 cells: 2 fail, 2 pass",
        ]
    )


def test_a_pseudo_mos_is_called_pseudo(project: Any) -> None:
    result = project.run("--iqa-dataset=mini", "--iqa-images=2", "--iqa-strength=weak")
    result.stdout.fnmatch_lines(["opinion scores are pseudo*"])
    assert "pseudo" in (project.path / "reports" / "summary.md").read_text()
