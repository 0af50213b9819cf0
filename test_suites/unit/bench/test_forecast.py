"""Forecasts: what records tell goes before what is measured, and what neither tells is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iqa_robustness.bench import forecast as forecast_module
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.estimate import passes_of
from iqa_robustness.bench.forecast import Forecast, PlannedCell, PlanRow, forecast
from iqa_robustness.bench.pace import Pace
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.errors import WeightsError
from iqa_robustness.store import Key, Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"
NUMERICS = Numerics(device="cpu", micro_batch=4)
PACE = Pace(forward=0.01, backward=0.02, mebibytes=100.0)
DONE = PlannedCell(name="clean:m/none", metric="m", scenario="clean", state="stored")
LONG = replace(DONE, name="clean:m/flip", state="to compute", forwards=10, seconds=2400.0, records_mebibytes=2.0)
SHORT = replace(LONG, name="clean:m/jpeg", forwards=20, seconds=1200.0, images_mebibytes=1.0, recorded=True)


@pytest.fixture
def cells(make_cell: Callable[..., Cell]) -> list[Cell]:
    """The bare metric and two defenses under one attack, that they share."""
    defenses = ("none", "flip", "jpeg")
    return [make_cell(metric=PLANTED, defense=defense, images=4, size=(48, 64)) for defense in defenses]


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Metrics that were measured; all of them have one pace, and libraries take 300 MiB."""
    asked: list[str] = []

    def pace(cell: Cell, runner: LocalRunner) -> Pace:
        del runner
        asked.append(cell.metric)
        return PACE

    monkeypatch.setattr(forecast_module, "pace_of", pace)
    monkeypatch.setattr(forecast_module, "resident_mebibytes", lambda: 300.0)
    return asked


def reader(store: Store) -> LocalRunner:
    return LocalRunner(Store(store.url, read_only=True), NUMERICS, from_store=True)


def note(store: Store, cell: Cell, number: int, **facts: Any) -> None:
    """What an earlier run wrote beside the cell's record, which had another key."""
    known = {"cell": cell.name, "sizes": cell.sizes, "device": "cpu", "created": f"2026-01-0{number}"}
    store.put(Key({"earlier": number}), {"record.parquet": b""}, volatile={**known, **facts})


def test_without_records_passes_and_their_pace_decide(tmp_path: Path, cells: list[Cell], paced: list[str]) -> None:
    found = forecast(cells, reader(Store(tmp_path)), measure=True, workers=2)
    (row,) = found.rows
    passes = passes_of(cells)
    assert paced == [PLANTED]
    assert (row.cells, row.computed, row.recorded, row.forwards, row.backwards) == (
        3,
        3,
        0,
        passes.forwards,
        passes.backwards,
    )
    assert row.seconds == pytest.approx(0.01 * passes.forwards + 0.02 * passes.backwards)
    assert row.memory_mebibytes == 400
    assert row.longest_seconds == pytest.approx(PACE.seconds(*vars(passes_of(cells[:1])).values()))
    assert found.elapsed_seconds == pytest.approx(max(row.seconds / 2, row.longest_seconds or 0))


def test_records_go_before_estimates(tmp_path: Path, cells: list[Cell], paced: list[str]) -> None:
    store = Store(tmp_path)
    note(store, cells[0], 1, seconds=100.0, resident_mebibytes=650.0)
    note(store, cells[1], 2, seconds=20, resident_mebibytes=700.0)
    (row,) = forecast(cells, reader(store), measure=True).rows
    own = passes_of(cells).forwards - passes_of(cells[:2]).forwards
    assert row.recorded == 2
    assert row.seconds == pytest.approx(120 + 0.01 * own)
    assert (row.memory_mebibytes, row.longest_seconds) == (700, 100)
    note(store, cells[2], 3, seconds=5.0)
    del paced[:]
    (row,) = forecast(cells, reader(store), measure=True).rows
    assert (row.recorded, row.seconds, paced) == (3, 125, [])


def test_what_is_not_measured_is_not_known(tmp_path: Path, cells: list[Cell], paced: list[str]) -> None:
    found = forecast(cells, reader(Store(tmp_path)), measure=False)
    assert paced == []
    assert (found.total.seconds, found.total.memory_mebibytes, found.device_hours) == (None, None, None)
    assert (found.elapsed_seconds, found.total.longest_seconds) == (None, None)
    assert found.total.store_mebibytes > 0


def test_what_the_store_has_is_not_computed_and_nothing_is_written(
    tmp_path: Path, cells: list[Cell], paced: list[str]
) -> None:
    store = Store(tmp_path / "store")
    LocalRunner(store, NUMERICS).record(replace(cells[0], attack="", strength="", scenario="clean"))
    clean = [replace(cell, attack="", strength="", scenario="clean") for cell in cells[:2]]
    before = sorted((tmp_path / "store").rglob("*"))
    (row,) = forecast(clean, reader(store), measure=True).rows
    assert (row.stored, row.computed) == (1, 1)
    assert row.memory_mebibytes is not None
    (done,) = forecast(clean[:1], reader(store), measure=True).rows
    assert (done.computed, done.seconds, done.forwards, done.store_mebibytes) == (0, 0.0, 0, 0.0)
    assert forecast(clean[:1], reader(store), measure=True).total.memory_mebibytes is None
    assert sorted((tmp_path / "store").rglob("*")) == before
    assert forecast(clean, reader(Store(tmp_path / "none", read_only=True)), measure=False).total.stored == 0
    assert not (tmp_path / "none").exists()
    assert len(paced) == 1


def test_a_metric_that_cannot_be_made_is_named_and_the_others_are_planned(
    tmp_path: Path, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pace(cell: Cell, runner: LocalRunner) -> Pace:
        del runner
        if cell.metric == PLANTED:
            raise WeightsError("the file is gone", fix="fetch it")
        return PACE

    monkeypatch.setattr(forecast_module, "pace_of", pace)
    absent = replace(cells[0], metric="no_such_module:Metric")
    found = forecast([*cells, absent], reader(Store(tmp_path)), measure=True)
    assert found.troubles[PLANTED] == "WeightsError: the file is gone"
    assert "no_such_module" in found.troubles["no_such_module:Metric"]
    assert [row.computed for row in found.rows] == [3, 1]
    assert found.rows[0].seconds is None


def test_cells_that_say_nothing_are_neither_stored_nor_computed(
    tmp_path: Path, make_cell: Callable[..., Cell], paced: list[str]
) -> None:
    # Images that are their own references: nothing scores better than each of them.
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 48), (90 * number, 80, 70)).save(pictures / f"{number}.png")
    (pictures / "mos.csv").write_text("file,mos\n0.png,1\n1.png,2\n", encoding="utf-8")
    sizes = {"dataset": f"folder:{pictures}", "images": 2, "size": (48, 64)}
    useless, useful = (
        make_cell(metric="ssim", defense="none", attack="square", goal=goal, **sizes) for goal in ("raise", "lower")
    )
    found = forecast([useless, useful], reader(Store(tmp_path / "store")), measure=True)
    assert [cell.state for cell in found.cells] == ["not applicable", "to compute"]
    (row,) = found.rows
    assert (row.cells, row.computed, row.not_applicable) == (2, 1, 1)
    assert found.cells[0].seconds == found.cells[0].forwards == 0
    assert row.forwards == found.cells[1].forwards
    assert (found.troubles, paced) == ({}, ["ssim"])


def planned(*cells: PlannedCell, memory: float | None = 500.0, workers: int = 1) -> Forecast:
    """A row for each metric; they need as much memory, twice as much, and so on."""
    metrics = sorted({cell.metric for cell in cells})
    rows = [
        PlanRow.of(
            [cell for cell in cells if cell.metric == metric],
            None if memory is None else memory * number,
            metric=metric,
            scenario="clean",
        )
        for number, metric in enumerate(metrics, start=1)
    ]
    return Forecast(cells=cells, rows=tuple(rows), device="cuda", micro_batch=4, workers=workers, troubles={})


def test_rows_and_totals_add_up_and_memory_is_that_of_the_largest_that_computes() -> None:
    cells = (DONE, LONG, SHORT, replace(SHORT, metric="n"), replace(DONE, metric="o"))
    found = planned(*cells)
    first = found.rows[0]
    assert (first.cells, first.stored, first.computed, first.recorded, first.forwards) == (3, 1, 2, 1, 30)
    assert (first.seconds, first.longest_seconds, first.store_mebibytes) == (3600, 2400, 5.0)
    total = found.total
    assert (total.cells, total.stored, total.computed, total.not_applicable) == (5, 2, 3, 0)
    assert (total.memory_mebibytes, total.store_mebibytes) == (1000, 8.0)
    assert (found.device_hours, found.elapsed_seconds) == (pytest.approx(4800 / 3600), 4800)
    assert planned(DONE).total.memory_mebibytes is None


def test_one_unknown_makes_the_sum_unknown() -> None:
    found = planned(LONG, replace(SHORT, seconds=None), memory=None)
    assert (found.total.seconds, found.total.longest_seconds, found.total.memory_mebibytes) == (None, None, None)
    assert (found.device_hours, found.elapsed_seconds) == (None, None)


def test_many_workers_wait_for_the_longest_cell() -> None:
    assert planned(LONG, SHORT).elapsed_seconds == 3600
    assert planned(LONG, SHORT, workers=50).elapsed_seconds == 2400


def test_the_document_is_json_with_units_in_its_names() -> None:
    found = planned(DONE, LONG, SHORT, workers=3)
    document = json.loads(json.dumps(found.document))
    assert {"schema", "device", "micro_batch", "workers", "cells", "rows", "totals", "troubles"} == {*document}
    (row,) = document["rows"]
    assert {*row} - {"metric", "scenario"} == {*document["totals"]} - {"device_hours", "elapsed_seconds"}
    assert (row["store_mebibytes"], document["totals"]["device_hours"]) == (5.0, 1.0)
    assert [cell["state"] for cell in document["cells"]] == ["stored", "to compute", "to compute"]
    assert (document["device"], document["workers"]) == ("cuda", 3)
