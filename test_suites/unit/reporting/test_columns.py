"""Tables of experiments: columns stand under each other, files hold the same numbers."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.measures import Interval
from iqa_robustness.reporting.columns import aligned, spoken_interval, spread, write_rows

CELL = st.text("abcxyz019.,+-–(*)%∞", max_size=9)
KNOWN = Interval(value=0.123, low=-0.05, high=0.3, clusters=9)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 3))
def test_every_column_starts_and_ends_at_one_place(lines: list[list[str]], left: int) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    starts = [sum(widths[:column]) + 2 * column for column in range(3)]
    for text, line in zip(aligned(lines, left=left).split("\n"), lines, strict=True):
        padded = text.ljust(sum(widths) + 4)
        for column, cell in enumerate(line):
            found = padded[starts[column] : starts[column] + widths[column]]
            assert found == (cell.ljust(widths[column]) if column < left else cell.rjust(widths[column]))


def test_a_table_looks_like_this() -> None:
    assert aligned([("name", "n"), ("a", "10"), ("abcdef", "5")], left=1) == "name     n\na       10\nabcdef   5"


def test_intervals_are_spoken_with_their_bounds() -> None:
    assert spoken_interval(KNOWN, factor=100) == "12.3 (-5.0 to 30.0)"
    assert spoken_interval(KNOWN, digits=2) == "0.12 (-0.05 to 0.30)"
    assert spoken_interval(Interval.unknown(2.0, 1)) == "2.0 (unknown)"
    assert spoken_interval(Interval.unknown(float("nan"), 0)) == "–"
    assert spread("x", KNOWN, factor=2) == {"x": 0.246, "x_low": -0.1, "x_high": 0.6}


def test_json_and_csv_hold_the_rows_and_nothing_that_is_not_finite(tmp_path: Path) -> None:
    rows = [
        {"name": "a, b", "value": 0.1 + 0.2, "count": 3, **spread("x", Interval.unknown(1.0, 1))},
        {"name": "ü", "value": float("nan"), "count": 0, **spread("x", KNOWN)},
    ]
    files = write_rows(rows, tmp_path / "new" / "folder", "found", facts={"dataset": "mini", "size": [3, 4]})
    assert [file.name for file in files] == ["found.json", "found.csv"]
    document = json.loads(files[0].read_text(encoding="utf-8"))
    assert (document["dataset"], document["size"]) == ("mini", [3, 4])
    assert document["rows"][0] == {
        "name": "a, b",
        "value": 0.1 + 0.2,
        "count": 3,
        "x": 1,
        "x_low": None,
        "x_high": None,
    }
    assert document["rows"][1]["value"] is None
    table = pd.read_csv(files[1], float_precision="round_trip")
    assert table["name"].tolist() == ["a, b", "ü"]
    assert table["value"][0] == 0.1 + 0.2
    assert math.isnan(table["value"][1])
    assert math.isnan(table["x_low"][0])
    with files[1].open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == [*rows[0]]


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_rows([{"a": 1}], tmp_path, "found", facts={"path": tmp_path})
