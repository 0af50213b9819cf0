"""Tables of experiments: aligned for a terminal, and the same rows as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iqa_robustness.measures.intervals import Interval

Row = Mapping[str, str | int | float]


def aligned(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """Lines of cells as text; the first `left` columns flush left, the others right. All lines have equally many."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def spread(name: str, interval: Interval, *, factor: float = 1.0) -> dict[str, float]:
    """An interval as the columns `name`, `name_low`, `name_high`."""
    bounds = (interval.value, interval.low, interval.high)
    return {f"{name}{end}": factor * bound for end, bound in zip(("", "_low", "_high"), bounds, strict=True)}


def spoken_interval(interval: Interval, *, factor: float = 1.0, digits: int = 1) -> str:
    """`12.3 (10.1 to 14.9)`; a dash for what is not known."""
    if math.isnan(interval.value):
        return "–"
    value, low, high = (factor * bound for bound in (interval.value, interval.low, interval.high))
    bounds = f"{low:.{digits}f} to {high:.{digits}f}" if math.isfinite(low) and math.isfinite(high) else "unknown"
    return f"{value:.{digits}f} ({bounds})"


def write_rows(rows: Sequence[Row], folder: Path, name: str, *, facts: Mapping[str, Any]) -> list[Path]:
    """Write `name.json` (facts and rows; null where a number is not finite) and `name.csv` (empty there).

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finite = [{column: _finite(value) for column, value in row.items()} for row in rows]
    document = json.dumps({**facts, "rows": finite}, indent=1, ensure_ascii=False, allow_nan=False)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(finite)
    files = {folder / f"{name}.json": f"{document}\n", folder / f"{name}.csv": text.getvalue()}
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    return [*files]


def _finite(value: str | int | float) -> str | int | float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
