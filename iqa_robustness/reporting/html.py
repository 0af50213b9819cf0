"""summary.html: the run as one self-contained page, without network or Node."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from iqa_robustness.gate.measurements import MEASURES
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
from iqa_robustness.reporting.distributions import Scale, bars
from iqa_robustness.reporting.figures import curve_plot
from iqa_robustness.reporting.flags import cell_flags, datasets, numerics, run_flags
from iqa_robustness.reporting.gallery import Gallery
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
    several,
    shown_worst_cases,
    spoken_counts,
    spoken_noise,
    spoken_shares,
    undefended_attacks,
)
from iqa_robustness.reporting.transfers import transfer_matrices

# D_score at which the heat map's colour is full, per cent of the range.
_FULL = 60.0
# Widths of the drawings of gains, and the height of a histogram, units of their view boxes.
_STRIP, _HISTOGRAM, _HEIGHT = 112.0, 416.0, 48.0
# Characters of a name that a column of a table has room for.
_SHORT = 14


def summary_html(
    cells: Sequence[Outcome],
    facts: Mapping[str, str],
    worst_cases: Sequence[WorstCase] = (),
    gallery: Gallery | None = None,
) -> str:
    """The page: what limits the run, metric × defense, heat map, verdicts, protocols, measures, curves, every cell.

    Equal outcomes give equal bytes.

    Args:
        cells: outcomes of the run.
        facts: what a reader needs to place the numbers.
        worst_cases: over the attacks of the run.
        gallery: pictures of some cells; None for a page without any.
    """
    environment = Environment(
        loader=PackageLoader("iqa_robustness.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "effect": effect_of, "measured": number_of}
    environment.filters |= {"noise": spoken_noise, "shares": spoken_shares, "bars": _bars, "several": several}
    environment.filters["breakable"] = _breakable
    judged = ordered([cell for cell in cells if not is_control(cell)])
    controls = ordered([cell for cell in cells if is_control(cell)])
    pairs = pair_rows(judged)
    unknown = frozenset((pair.metric, pair.defense) for pair in pairs if pair.nonadaptive_only)
    mixtures = mixture_rows(judged)
    return environment.get_template("summary.html.j2").render(
        facts=facts,
        numerics=numerics(cells),
        datasets=datasets(cells),
        spoken=f"{several(len(judged), 'cell')}: {spoken_counts(counted(judged)) or 'none'}",
        labels=LABELS,
        units={name: info.unit for name, info in MEASURES.items()},
        flags=run_flags(judged, pairs),
        pairs=pairs,
        heat=heat_map(judged),
        adaptive=adaptive_rows(judged),
        certified=_certified(judged),
        worst=shown_worst_cases(worst_cases),
        undefended=undefended_attacks(judged),
        curves=_curves(judged),
        costs=cost_rows(judged),
        transfers=transfer_matrices(judged),
        mixtures={"rows": mixtures, "columns": mixture_columns(mixtures), "truths": TRUTHS, "mixes": MIXES},
        cells=[_shown(cell, unknown) for cell in judged],
        controls=[_shown(cell, unknown) for cell in controls],
        anchors={cell["name"]: f"cell-{number}" for number, cell in enumerate([*judged, *controls], start=1)},
        choices=_choices(judged),
        scale=Scale.over((cell["gains"] for cell in judged), width=_STRIP),
        gallery=gallery or Gallery(),
    )


def _shown(cell: Outcome, nonadaptive_only: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """An outcome with what the page says beside it."""
    shown = {"label": label(cell), "flags": cell_flags(cell, nonadaptive_only)}
    return {"command": "", **cell, **shown, "scale": Scale.over([cell["gains"]], width=_HISTOGRAM)}


def _choices(cells: Sequence[Outcome]) -> dict[str, list[tuple[str, str]]]:
    """By axis, what the verdicts can be filtered by: value and text."""
    axes = ("metric", "defense", "attack", "scenario")
    found = {axis: sorted({str(cell[axis]) for cell in cells} - {""}) for axis in axes}
    verdicts = [(name, LABELS[name]) for name in counted(cells)]
    return {"verdict": verdicts, **{axis: [(name, name) for name in names] for axis, names in found.items()}}


def heat_map(cells: Sequence[Outcome]) -> dict[str, Any]:
    """D_score by pair and scenario (rows), and attack and strength (columns), of the attacks that raise the score.

    Returns:
        `columns`: (attack, strength); `rows`: metric, defense, scenario and, for each column, None or a dict with
        `name`, `value`, `label`, `bad` (neither green nor declared) and `share` (0 … 1, of the colour).
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
    value, name = measure_of(cell, "d_score"), label(cell)
    bad = name not in ("pass", "weakness", "informing")
    return {"name": cell["name"], "value": value, "label": name, "bad": bad, "share": min(value / _FULL, 1.0)}


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after a colon or a dot, as `package.module:Class` is long.

    A short one stays in one piece: browsers would break it at its hyphens.
    """
    if len(name) <= _SHORT:
        return Markup('<span class="whole">{}</span>').format(name) if "-" in name else Markup.escape(name)
    return Markup("<wbr>").join(re.split(r"(?<=[:.])", name))


def _bars(gains: Mapping[str, Any], scale: Scale) -> str:
    return bars(gains, scale, height=_HEIGHT)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _interval(measure: Sequence[float | None] | None, digits: int = 1) -> str:
    if measure is None or measure[0] is None:
        return "–"
    value, low, high = measure
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
