"""A table of a leaderboard: the same numbers for a page, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iqa_robustness.measures import Interval, RankInterval
from iqa_robustness.reporting.leaderboard_aggregate import Aggregate


@dataclass(frozen=True, kw_only=True)
class Column:
    """Of a table.

    key: of its values in a row.      heading: for people.      digits, factor: how a number is printed.
    plain: text, which is not aligned as numbers are.
    """

    key: str
    heading: str
    digits: int = 2
    factor: float = 1.0
    plain: bool = False


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A value as a page shows it: `12.3 ± 4.5` over `[10.1, 14.2]`."""

    value: str
    below: str = ""


NOT_APPLICABLE = "n/a"
"""A number that a leaderboard does not give, with the reason below the table."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of values by column: texts, numbers, `Aggregate`, `Interval`, `RankInterval`, or None.

    name: of its files.      about: what its numbers are.      notes: below it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    about: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> list[list[Shown]]:
        """Every row as a page shows it."""
        return [[shown(row.get(column.key), column) for column in self.columns] for row in self.rows]

    @property
    def document(self) -> dict[str, Any]:
        """JSON: title, notes, columns and rows with every part of a number; NaN and infinity are null."""
        return {
            "title": self.title,
            "about": self.about,
            "notes": [*self.notes],
            "columns": {column.key: column.heading for column in self.columns},
            "rows": [{column.key: _document(row.get(column.key)) for column in self.columns} for row in self.rows],
        }

    @property
    def csv(self) -> str:
        """One line a row; an aggregate takes the columns KEY, KEY_sd, KEY_median, KEY_low and KEY_high."""
        flat = [_flat({column.key: _document(row.get(column.key)) for column in self.columns}) for row in self.rows]
        names = [*dict.fromkeys(name for row in flat for name in row)]
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        return buffer.getvalue()


def shown(value: Any, column: Column) -> Shown:
    """A value as a page shows it; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Shown(value="–")
    if isinstance(value, Aggregate):
        spread = "" if math.isnan(value.sd) else f" ± {_number(value.sd, column)}"
        return Shown(value=f"{_number(value.mean, column)}{spread}", below=_bounds(value.interval, column))
    if isinstance(value, Interval):
        return Shown(value=_number(value.value, column), below=_bounds(value, column))
    if isinstance(value, RankInterval):
        return Shown(value=f"{value.rank:g}", below=f"{value.low:g} – {value.high:g}")
    if isinstance(value, float):
        return Shown(value=_number(value, column))
    return Shown(value=str(value))


def _number(value: float, column: Column) -> str:
    return f"{column.factor * value:.{column.digits}f}"


def _bounds(interval: Interval, column: Column) -> str:
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"[{_number(interval.low, column)}, {_number(interval.high, column)}]"


def _document(value: Any) -> Any:
    if isinstance(value, Aggregate):
        facts = {"value": value.mean, "sd": value.sd, "median": value.median, "cells": value.cells}
        bounds = {"low": value.interval.low, "high": value.interval.high, "contents": value.interval.clusters}
        return {name: _document(part) for name, part in (facts | bounds).items()}
    if isinstance(value, Interval):
        return {name: _document(getattr(value, name)) for name in ("value", "low", "high")}
    if isinstance(value, RankInterval):
        return {"value": value.rank, "low": value.low, "high": value.high}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        parts = value if isinstance(value, dict) else {"value": value}
        found |= {key if name == "value" else f"{key}_{name}": part for name, part in parts.items()}
    return found
