"""What a run leaves: Allure results, JUnit properties, summary.md, summary.html, results.parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shlex
import shutil
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


def parameters(result: dict[str, Any]) -> dict[str, str]:
    return {parameter["name"]: parameter["value"] for parameter in result["parameters"]}


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
    identity = {"pair": "'own:Fragile/none'", "cell": "'nonadaptive:own:Fragile/none/ifgsm/strong'"}
    shown = {"attack": "ifgsm", "strength": "strong", "dataset": "folder:pictures", "budget": "l∞ 8/255"}
    assert parameters(red) == {**identity, **shown}
    # What may change from run to run takes no part in the identity.
    assert [p["name"] for p in red["parameters"] if not p.get("excluded")] == [*identity]


def test_allure_status_tells_violations_from_breakage(project: Any) -> None:
    project.run("--alluredir=allure", "--iqa-metric=own:Contrast,own:Fragile,own:NaN", "--iqa-strength=strong")
    found = {result["name"]: result for result in results(project)}
    assert {name: result["status"] for name, result in found.items()} == {
        "own:Contrast/none/ifgsm/strong": "passed",
        "own:Fragile/none/ifgsm/strong": "failed",
        "own:NaN/none/ifgsm/strong": "broken",
    }
    broken = found["own:NaN/none/ifgsm/strong"]
    assert labels(broken, "epic") == ["Non-adaptive attacks"]
    assert labels(broken, "feature") == ["own:NaN"]
    assert labels(broken, "severity") == ["critical"]
    assert labels(broken, "tag") == ["verdict: missing"]


SCENARIOS = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none,flip", attack="ifgsm")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="nonadaptive", goal="lower", defense="flip", attack="ifgsm")
def test_lowered(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="adaptive", defense="flip", attack="ifgsm")
def test_adaptive(pair, cell, gate):
    gate.check(cell, pair)
"""


def test_history_ids_are_those_of_cells_whoever_computed_them(project: Any) -> None:
    """Two scenarios and goals of one attack are two cells; other workers under other names make no other cell."""
    project.write("test_gate.py", SCENARIOS)
    selected = ("--iqa-images=2", "--iqa-strength=medium")
    project.run(*selected, "--alluredir=alone")
    workers = ("--dist=load", "--tx=popen//id=left", "--tx=popen//id=right")
    project.run_alone(*selected, *workers, "--alluredir=shared", "--iqa-from-store")
    alone, shared = (
        {r["historyId"]: (r["fullName"], r["name"], r["status"]) for r in results(project, folder)}
        for folder in ("alone", "shared")
    )
    assert alone == shared
    assert len(alone) == len(results(project, "alone")) == 4
    assert len({name for _, name, _ in alone.values()}) == 3  # the adaptive cell has the id of the non-adaptive one
    threads = {labels(result, "thread")[0] for result in results(project, "shared")}
    assert len(threads) == 2
    flips = [result for result in results(project, "shared") if labels(result, "story") == ["flip"]]
    assert {labels(result, "epic")[0] for result in flips} == {"Non-adaptive attacks", "Adaptive attacks"}


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


# What a picture begins with, as a file and as the text of a page.
PIXELS = (b"\x89PNG", b"\xff\xd8\xff", b"WEBPVP8", b"data:image", b"iVBORw0KGgo", b"/9j/4AAQ", b"UklGR", b"<image")


@pytest.mark.parametrize(("choice", "expected"), [("none", []), ("all", ["worst images (4)", "score shift"])])
def test_attachments_can_be_left_out_or_complete(project: Any, choice: str, expected: list[str]) -> None:
    """With `none`, no pixel of any picture leaves the data set and the store."""
    project.run("--alluredir=allure", "--junitxml=junit.xml", "--iqa-strength=strong", f"--iqa-attachments={choice}")
    (result,) = results(project)
    names = [a["name"] for a in result["attachments"]]
    assert [name for name in names if name not in ("record.csv", "meta.json", "run this cell again")] == expected
    page = (project.path / "reports" / "summary.html").read_text()
    assert page.count("data:image/webp") == (0 if choice == "none" else 3)
    left = [path for path in project.path.rglob("*") if path.is_file()]
    left = [path for path in left if not {".iqa-store", "__pycache__", "pictures"} & {*path.parts}]
    pictured = {path.name for path in left if any(start in path.read_bytes() for start in PIXELS)}
    assert {"junit.xml", "summary.html", "summary.md", "results.parquet", "verdict.json"} <= {
        path.name for path in left
    }
    # Names are no pixels: a record shows those of its pictures.
    named = {path.name for path in left if choice == "none" and b"picture0" in path.read_bytes()}
    assert named <= {a["source"] for a in result["attachments"] if a["name"] in ("record.csv", "meta.json")}
    attached = {a["source"] for a in result["attachments"] if a["name"].startswith("worst images")}
    assert pictured == (set() if choice == "none" else {"summary.html", *attached})


def test_what_exceeds_the_size_budget_is_left_out_and_said(project: Any) -> None:
    options = ("--alluredir=allure", "--iqa-metric=own:Fragile", "--iqa-strength=medium,strong")
    project.run(*options, "--iqa-attachments-megabytes=0.2")  # of two items, each gets half
    for result in results(project):
        paths = [project.path / "allure" / a["source"] for a in result["attachments"]]
        assert sum(path.stat().st_size for path in paths) <= 100_000 + 1_000  # the command is always there
        assert "Not attached: worst images (3) (only worst images (" in result["description"]
        assert attachment(project, result, "run this cell again").read_text().startswith("pytest ")


def test_pictures_that_were_deleted_change_no_verdict(project: Any) -> None:
    """As docs/reports.md deletes them: the entries that hold images, and no others."""
    options = ("--iqa-metric=own:Fragile", "--iqa-strength=strong", "--alluredir=allure")
    project.run(*options, "--iqa-attachments=none")
    (before,) = results(project)
    pictured = [path.parent for path in (project.path / ".iqa-store").rglob("images.tar")]
    assert pictured
    for folder in pictured:
        shutil.rmtree(folder)
    shutil.rmtree(project.path / "allure")
    project.run(*options, "--iqa-from-store")
    (after,) = results(project)
    assert (before["status"], after["status"]) == ("failed", "failed")
    assert "fail: D_score" in after["statusDetails"]["message"]
    assert "Not attached: worst images (" in after["description"]
    assert not [a for a in after["attachments"] if a["name"].startswith("worst images")]


def test_a_size_budget_that_is_no_size_stops_the_run(project: Any) -> None:
    result = project.run("--iqa-attachments-megabytes=-1")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--iqa-attachments-megabytes is no number from 0 on: '-1'*"])


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
