"""docs/reports.md names every column of results.parquet with its unit, and none that is not there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.certificates import certificate_facts
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.mixtures import SHARES
from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.measures import Interval
from iqa_robustness.reporting.results import results_table

PAGE = Path(__file__).parents[3] / "docs" / "reports.md"
INTERVAL = ("MEASURE_low", "MEASURE_high")
MIXTURE = re.compile(r"srocc_mixed_(mos|clean)_(10|50|90)_(defended|undefended)(_low|_high)?")


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """Column and unit."""
    table = PAGE.read_text(encoding="utf-8").partition("| column | unit | meaning |")[2].partition("\n\n")[0]
    found = {}
    for row in table.splitlines()[2:]:
        names, unit, meaning = (part.strip() for part in row.strip("|").split("|"))
        assert meaning
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", names), unit)
    return found


@pytest.fixture
def columns(outcome: Any) -> list[str]:
    """Of a run in which every kind of cell occurs."""
    numbers = [0.5, 0.4, 0.6]
    mixtures = [
        {"truth": truth, "share": share, "defended": numbers, "undefended": numbers}
        for truth in ("mos", "clean")
        for share in SHARES
    ]
    certificate = dict.fromkeys(("broken", "tested"), 1)
    certificate |= dict.fromkeys(certificate_facts(_smoothing(), 5), 1)
    cost = {step: {"milliseconds": 1.0, "mebibytes": 2.0, "batches": 3} for step in ("forward", "purify")}
    cell = outcome(
        measures=dict.fromkeys(MEASURES, numbers),
        mixtures=mixtures,
        certificate=certificate,
        cost=cost,
        sources={"shares": {"adaptive": 0.5, "transferred": 0.25, "queried": 0.25}, "queried_images": 4},
    )
    worst = WorstCase(
        subject=("compact", "none", "nonadaptive", "raise", "strong"),
        gain=Interval(value=1.0, low=0.0, high=2.0, clusters=5),
        attribution={"ifgsm": 1.0},
        images=5,
    )
    return list(results_table([cell], [worst]).columns)


def _smoothing() -> Smoothing:
    from iqa_robustness import defenses

    found = next(d for d in map(defenses.create, defenses.registry.names()) if isinstance(d, Smoothing))
    assert {field.name for field in fields(found)} >= {"sigma"}
    return found


def test_every_column_is_documented(documented: dict[str, str], columns: list[str]) -> None:
    assert set(INTERVAL) < set(documented)
    bounds = {f"{name}{end}" for name in MEASURES for end in ("_low", "_high")}
    plain = [column for column in columns if column not in bounds and not MIXTURE.fullmatch(column)]
    assert [column for column in plain if column not in documented] == []
    assert any(MIXTURE.fullmatch(column) for column in columns)
    assert bounds <= set(columns)


def test_no_documented_column_is_gone(documented: dict[str, str], columns: list[str]) -> None:
    patterns = {*INTERVAL, "srocc_mixed_TRUTH_PERCENT_STATE"}
    endings = {"_low", "_high"}
    assert set(documented) - patterns - endings - set(columns) == set()


def test_measures_have_their_own_units(documented: dict[str, str]) -> None:
    assert {name: documented[name] for name in MEASURES} == {name: i.unit or "1" for name, i in MEASURES.items()}
    assert all(documented.values())
