"""One table in three forms: the same numbers on a page, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math

from iqa_robustness.measures import Interval, RankInterval
from iqa_robustness.reporting.leaderboard_aggregate import Aggregate
from iqa_robustness.reporting.leaderboard_table import Column, Shown, Table, shown

INTERVAL = Interval(value=12.34, low=10.0, high=15.06, clusters=20)
AGGREGATE = Aggregate(sd=4.56, median=11.0, cells=3, records=6, interval=INTERVAL)
TABLE = Table(
    name="some",
    title="Some numbers",
    columns=(
        Column(key="name", heading="name", plain=True),
        Column(key="d", heading="D, %", digits=1),
        Column(key="place", heading="place"),
        Column(key="count", heading="count"),
    ),
    rows=(
        {"name": "jpeg, 50", "d": AGGREGATE, "place": RankInterval(rank=1.5, low=1.0, high=2.0), "count": 3},
        {"name": "none", "d": None, "place": math.nan, "count": 0},
    ),
    notes=("a note",),
)


def test_numbers_for_a_page() -> None:
    column = Column(key="d", heading="", digits=1)
    assert shown(AGGREGATE, column) == Shown(value="12.3 ± 4.6", below="[10.0, 15.1]")
    assert shown(INTERVAL, column) == Shown(value="12.3", below="[10.0, 15.1]")
    assert shown(Interval.unknown(2.0, 1), column) == Shown(value="2.0")
    assert shown(RankInterval(rank=2.0, low=1.0, high=3.5), column) == Shown(value="2", below="1 – 3.5")
    assert shown(0.5, Column(key="", heading="", digits=0, factor=100)) == Shown(value="50")
    assert shown(3, column) == Shown(value="3")
    assert [shown(nothing, column).value for nothing in (None, math.nan)] == ["–", "–"]
    alone = Aggregate(sd=math.nan, median=1.0, cells=1, records=1, interval=INTERVAL)
    assert shown(alone, column).value == "12.3"


def test_a_row_has_a_place_for_every_column() -> None:
    assert [[cell.value for cell in row] for row in TABLE.shown] == [
        ["jpeg, 50", "12.3 ± 4.6", "1.5", "3"],
        ["none", "–", "–", "0"],
    ]


def test_csv_has_every_part_of_a_number_in_a_column_of_its_own() -> None:
    first, second = csv.DictReader(io.StringIO(TABLE.csv))
    assert first["name"] == "jpeg, 50"
    assert {key: float(first[key]) for key in ("d", "d_sd", "d_median", "d_low", "d_high", "d_cells")} == {
        "d": 12.34,
        "d_sd": 4.56,
        "d_median": 11.0,
        "d_low": 10.0,
        "d_high": 15.06,
        "d_cells": 3,
    }
    assert (first["place"], first["place_low"], first["place_high"]) == ("1.5", "1.0", "2.0")
    assert (second["d"], second["place"], second["count"]) == ("", "", "0")


def test_json_is_strict_and_says_what_the_page_says() -> None:
    document = json.loads(json.dumps(TABLE.document, allow_nan=False))
    assert document["columns"] == {"name": "name", "d": "D, %", "place": "place", "count": "count"}
    assert document["rows"][0]["d"]["low"] == 10.0
    assert document["rows"][0]["d"]["contents"] == 20
    assert document["rows"][1] == {"name": "none", "d": None, "place": None, "count": 0}
    assert document["notes"] == ["a note"]


def test_infinite_bounds_are_null() -> None:
    table = Table(
        name="x",
        title="",
        columns=(Column(key="d", heading=""),),
        rows=({"d": Interval.unknown(2.0, 1)},),
    )
    assert table.document["rows"][0]["d"] == {"value": 2.0, "low": None, "high": None}
