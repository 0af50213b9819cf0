"""summary.html: the run as one self-contained page, without network or Node."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.measures.mixture import MIXES
from iqa_robustness.reporting.certified import (
    ABOUT,
    ATTACKED_COLUMNS,
    COLUMNS,
    SOUND_COLUMNS,
    certified_rows,
    notes_of,
    sound_rows,
)
from iqa_robustness.reporting.costs import cost_rows
from iqa_robustness.reporting.figures import curve_plot
from iqa_robustness.reporting.mixtures import TRUTHS, mixture_columns, mixture_rows
from iqa_robustness.reporting.results import (
    LABELS,
    Outcome,
    adaptive_rows,
    counted,
    effect_of,
    is_control,
    label,
    measure_of,
    number_of,
    ordered,
    pair_rows,
    security_curves,
    shown_worst_cases,
    spoken_counts,
    spoken_noise,
    spoken_shares,
    undefended_attacks,
)
from iqa_robustness.reporting.transfers import transfer_matrices

# D_score at which the heat map's colour is full, per cent of the range.
_FULL = 60.0


def summary_html(cells: Sequence[Outcome], facts: Mapping[str, str], worst_cases: Sequence[WorstCase] = ()) -> str:
    """The page: counts, metric × defense, heat map, worst cases, survival, gain against budget, every cell."""
    environment = Environment(
        loader=PackageLoader("iqa_robustness.reporting"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": _number, "interval": _interval, "effect": effect_of, "measured": number_of}
    environment.filters |= {"noise": spoken_noise, "shares": spoken_shares}
    judged = [cell for cell in cells if not is_control(cell)]
    mixtures = mixture_rows(judged)
    return environment.get_template("summary.html.j2").render(
        facts=facts,
        counts=counted(judged),
        spoken=spoken_counts(counted(judged)),
        labels=LABELS,
        pairs=pair_rows(judged),
        heat=heat_map(judged),
        adaptive=adaptive_rows(judged),
        certified=_certified(judged),
        worst=shown_worst_cases(worst_cases),
        undefended=undefended_attacks(judged),
        curves=_curves(judged),
        costs=cost_rows(judged),
        transfers=transfer_matrices(judged),
        mixtures={"rows": mixtures, "columns": mixture_columns(mixtures), "truths": TRUTHS, "mixes": MIXES},
        cells=[{**cell, "label": label(cell)} for cell in ordered(judged)],
        controls=[{**cell, "label": label(cell)} for cell in ordered([c for c in cells if is_control(c)])],
        pseudo=any(cell["mos_kind"] == "pseudo" for cell in judged),
    )


def heat_map(cells: Sequence[Outcome]) -> dict[str, Any]:
    """D_score by pair and scenario (rows), and attack and strength (columns), of the attacks that raise the score.

    Returns:
        `columns`: (attack, strength); `rows`: metric, defense, scenario and, for each column, None or a dict with
        `value`, `label` and `share` (0 … 1, of the colour).
    """
    attacked = [cell for cell in cells if "d_score" in cell["measures"] and cell["goal"] == "raise"]
    attacked = [cell for cell in attacked if not cell["source"]]
    order = {"weak": 0, "medium": 1, "strong": 2, "nonadaptive": 0, "certified": 1, "adaptive": 2}
    columns = sorted(
        {(cell["attack"], cell["strength"]) for cell in attacked}, key=lambda c: (c[0], order.get(c[1], 9))
    )
    heads = sorted(
        {(cell["metric"], cell["defense"], cell["scenario"]) for cell in attacked},
        key=lambda h: (h[0], h[1] != "none", h[1], order.get(h[2], 9)),
    )
    found = {
        tuple(cell[axis] for axis in ("metric", "defense", "scenario", "attack", "strength")): cell for cell in attacked
    }
    rows = [
        {
            "metric": head[0],
            "defense": head[1],
            "scenario": head[2],
            "places": [_place(found.get((*head, *column))) for column in columns],
        }
        for head in heads
    ]
    return {"columns": columns, "rows": rows}


def _certified(cells: Sequence[Outcome]) -> dict[str, Any]:
    """Rows, headings and notes of the tables of certified defenses."""
    rows = certified_rows(cells)
    tables = (
        ("Certified defenses", COLUMNS, [row.numbers for row in rows]),
        ("Certificates beside the attacks", ATTACKED_COLUMNS, [row.beside for row in rows]),
    )
    return {
        "rows": rows,
        "tables": [(title, [column[1] for column in columns], numbers) for title, columns, numbers in tables],
        "about": ABOUT,
        "notes": notes_of(rows),
        "sound": sound_rows(cells),
        "sound_heads": [column[1] for column in SOUND_COLUMNS],
    }


def _curves(cells: Sequence[Outcome]) -> list[dict[str, str]]:
    """Pictures of gain against budget, undefended targets first, as SVG without its XML declaration."""
    found = security_curves(cells)
    pictures = []
    for target in sorted(found, key=lambda target: (target[1] != "none", target)):
        metric, defense, scenario, restriction = target
        drawn = curve_plot(found[target], restriction)
        # Within HTML a picture needs no namespaces, and no metadata: nothing in the page looks like an address.
        inline = re.sub(
            r"<metadata>.*?</metadata>| xmlns(:\w+)?=\"[^\"]*\"", "", drawn[drawn.index("<svg") :], flags=re.S
        )
        pictures.append({"title": f"{metric} behind {defense}, {scenario}", "svg": inline})
    return pictures


def _place(cell: Outcome | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    value = measure_of(cell, "d_score")
    return {"value": value, "label": label(cell), "share": min(value / _FULL, 1.0)}


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _interval(measure: Sequence[float | None] | None, digits: int = 1) -> str:
    if measure is None or measure[0] is None:
        return "–"
    value, low, high = measure
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
