"""Durations: read from what records leave beside them, and carried over to cells that have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.durations import (
    Taken,
    expected_seconds,
    recorded_costs,
    recorded_mebibytes,
    recorded_seconds,
)
from iqa_robustness.store import Key, Store


def put(store: Store, number: int, file: str = "record.parquet", **volatile: Any) -> Path:
    entry = store.put(Key({"number": number}), {file: b"content"}, volatile=volatile)
    return Path(store.path_of(entry.digest)) / "volatile.json"


def test_the_newest_record_of_a_cell_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1, cell="a", seconds=5.0, created="2026-01-02T00:00:00Z")
    put(store, 2, cell="a", seconds=9.0, created="2026-01-01T00:00:00Z")
    put(store, 3, cell="b", seconds=1, created="2026-01-01T00:00:00Z")
    put(store, 4, "values.safetensors", cell="stage", seconds=7.0, created="2026-01-01T00:00:00Z")
    assert recorded_seconds(store) == {"a": 5.0, "b": 1.0}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1, cell="a", seconds=5.0, created="2026-01-02T00:00:00Z")
    put(store, 2, seconds=9.0, created="2026-01-01T00:00:00Z")  # of an earlier version, without its cell
    put(store, 3, cell="b", seconds="long", created="2026-01-01T00:00:00Z")
    put(store, 4).write_text("{")
    put(store, 5).write_text("[1]")
    put(store, 6).unlink()
    assert recorded_seconds(store) == {"a": 5.0}


def test_an_empty_or_absent_store_knows_nothing(tmp_path: Path) -> None:
    assert recorded_seconds(Store(tmp_path)) == {}
    assert recorded_seconds(Store(tmp_path / "absent", read_only=True)) == {}
    assert recorded_mebibytes(Store(tmp_path)) is None


def test_one_record_is_read_as_well_as_many(tmp_path: Path) -> None:
    store = Store(f"memory://{tmp_path.name}")
    store.put(Key({"n": 1}), {"record.parquet": b""}, volatile={"cell": "a", "seconds": 2, "created": "x"})
    assert recorded_seconds(store) == {"a": 2.0}


def test_the_largest_process_decides_about_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1, mebibytes=800.5)
    put(store, 2, mebibytes=1200)
    put(store, 3, mebibytes="much")
    assert recorded_mebibytes(store) == 1200


def test_a_cell_takes_what_one_of_its_sizes_took_on_such_a_device(
    tmp_path: Path, make_cell: Callable[..., Cell]
) -> None:
    store, cell = Store(tmp_path), make_cell()
    same = {"cell": cell.name, "sizes": cell.sizes, "device": "cuda"}
    put(store, 1, **same, created="2026-01-01", seconds=5.0, mebibytes=900.0)
    put(store, 2, **same, created="2026-01-02", seconds=7, mebibytes=800.0)
    put(store, 3, **{**same, "sizes": replace(cell, images=2).sizes}, created="2026-01-03", seconds=0.1)
    put(store, 4, **{**same, "device": "cpu"}, created="2026-01-04", seconds=600.0, resident_mebibytes=700.0)
    put(store, 5, cell=cell.name, created="2026-01-05", seconds=1.0)  # of an earlier version
    put(store, 6, **same, created="2026-01-06", seconds="long")
    cells = [replace(cell, seed=3), make_cell(defense="none")]
    assert recorded_costs(store, cells, device="cuda") == {cell.name: Taken(seconds=7.0, mebibytes=800.0)}
    assert recorded_costs(store, cells, device="cpu") == {cell.name: Taken(seconds=600.0, mebibytes=700.0)}
    assert recorded_costs(store, [], device="cuda") == {}


def test_sizes_are_all_that_is_no_name(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell()
    assert cell.sizes == replace(cell, metric="m", defense="d", attack="a", strength="s", scenario="x", seed=9).sizes
    assert json.loads(json.dumps(cell.sizes)) == cell.sizes
    for change in (
        {"images": 1},
        {"queries": 1},
        {"n": 1},
        {"size": (8, 8)},
        {"doublings": 1},
        {"scoring": "worst-of-2"},
    ):
        assert cell.sizes != replace(cell, **change).sizes  # type: ignore[arg-type]


def test_cells_without_a_duration_go_at_the_pace_of_the_others() -> None:
    weights = {"a": 100.0, "b": 200.0, "c": 1000.0, "d": 50.0}
    assert expected_seconds(weights, {"a": 10.0, "b": 40.0, "c": 100.0, "gone": 1e6}) == {
        "a": 10.0,
        "b": 40.0,
        "c": 100.0,
        "d": pytest.approx(5.0),
    }


def test_without_any_duration_estimates_order_the_cells() -> None:
    found = expected_seconds({"small": 1.0, "large": 30.0, "nothing": 0.0}, {})
    assert sorted(found, key=found.__getitem__) == ["nothing", "small", "large"]
    assert json.dumps(found)
