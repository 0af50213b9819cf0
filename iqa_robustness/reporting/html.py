"""summary.html: the run as one self-contained page, without network or Node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from iqa_robustness.reporting.results import (
    LABELS,
    Outcome,
    counted,
    is_control,
    label,
    measure_of,
    ordered,
    pair_rows,
    spoken_counts,
)

# D_score at which the heat map's colour is full, per cent of the range.
_FULL = 60.0


def summary_html(cells: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """The page: counts, metric × defense, heat map of D_score, every cell with its checks and reasons."""
    environment = Environment(
        loader=PackageLoader("iqa_robustness.reporting"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": _number, "interval": _interval}
    judged = [cell for cell in cells if not is_control(cell)]
    return environment.get_template("summary.html.j2").render(
        facts=facts,
        counts=counted(judged),
        spoken=spoken_counts(counted(judged)),
        labels=LABELS,
        pairs=pair_rows(judged),
        heat=heat_map(judged),
        cells=[{**cell, "label": label(cell)} for cell in ordered(judged)],
        controls=[{**cell, "label": label(cell)} for cell in ordered([c for c in cells if is_control(c)])],
        pseudo=any(cell["mos_kind"] == "pseudo" for cell in judged),
    )


def heat_map(cells: Sequence[Outcome]) -> dict[str, Any]:
    """D_score by pair (rows) and attack, strength, scenario (columns).

    Returns:
        `columns`: (scenario, attack, strength); `rows`: metric, defense and, for each column, None or a dict with
        `value`, `label` and `share` (0 … 1, of the colour).
    """
    attacked = [cell for cell in cells if cell["attack"] and "d_score" in cell["measures"] and cell["goal"] == "raise"]
    order = {"weak": 0, "medium": 1, "strong": 2, "nonadaptive": 0, "certified": 1, "adaptive": 2}
    columns = sorted(
        {(cell["scenario"], cell["attack"], cell["strength"]) for cell in attacked},
        key=lambda c: (order.get(c[0], 9), c[1], order.get(c[2], 9)),
    )
    pairs = sorted({(c["metric"], c["defense"]) for c in attacked}, key=lambda p: (p[0], p[1] != "none", p[1]))
    found = {(c["metric"], c["defense"], c["scenario"], c["attack"], c["strength"]): c for c in attacked}
    rows = []
    for metric, defense in pairs:
        places = []
        for column in columns:
            cell = found.get((metric, defense, *column))
            value = measure_of(cell, "d_score") if cell else math.nan
            places.append(
                None if cell is None else {"value": value, "label": label(cell), "share": min(value / _FULL, 1.0)}
            )
        rows.append({"metric": metric, "defense": defense, "places": places})
    return {"columns": columns, "rows": rows}


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _interval(measure: Sequence[float | None] | None, digits: int = 1) -> str:
    if measure is None or measure[0] is None:
        return "–"
    value, low, high = measure
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
