"""Durations: read from what records leave beside them, and carried over to cells that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.durations import expected_seconds, recorded_mebibytes, recorded_seconds
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
