"""Figures of a leaderboard: adaptive against non-adaptive attacks, and D_score along a defense's parameter."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from iqa_robustness.measures import Interval
from iqa_robustness.reporting.figures import PLACEBO_COLOUR

_NO_QUALITY = "#c3c9d3"
_EDGE = "#1a202c"


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A defense's: D_score in per cent of the range with intervals, None where not attacked so.

    quality: Q_score of non-adaptive cells, NaN where it is not applicable.
    """

    name: str
    nonadaptive: Interval | None
    adaptive: Interval | None
    quality: float


def bars_figure(bars: Sequence[Bars], *, file_format: str = "svg") -> bytes:
    """D_score of each defense, non-adaptive above and adaptive (hatched) below it, coloured by Q_score.

    Args:
        bars: at least one, from the top downwards.
        file_format: as matplotlib takes it.
    """
    known = [one.quality for one in bars if not math.isnan(one.quality)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    scale = Normalize(low - 0.05, high + 0.05)
    colours = colormaps["viridis"]
    figure, axes = _figure(width=7.4, height=1.3 + 0.44 * len(bars))
    for place, one in enumerate(bars):
        colour = _NO_QUALITY if math.isnan(one.quality) else colours(scale(one.quality))
        for interval, offset, hatch in ((one.nonadaptive, -0.19, ""), (one.adaptive, 0.19, "///")):
            if interval is None:
                continue
            finite = math.isfinite(interval.low) and math.isfinite(interval.high)
            reach = [[interval.value - interval.low], [interval.high - interval.value]] if finite else None
            error = {"linewidth": 0.9, "ecolor": _EDGE, "capsize": 2}
            axes.barh(
                place + offset,
                interval.value,
                0.36,
                xerr=reach,
                color=colour,
                edgecolor=_EDGE,
                linewidth=0.5,
                hatch=hatch,
                error_kw=error,
            )
    _named(axes, [one.name for one in bars])
    axes.invert_yaxis()
    axes.set_xlabel("D_score, % of the score range; lower is better")
    if known:
        bar = figure.colorbar(ScalarMappable(norm=scale, cmap=colours), ax=axes, shrink=0.8, pad=0.02)
        bar.set_label("Q_score: SSIM + PSNR/40")
    handles: list[Any] = [
        axes.barh([np.nan], [np.nan], color="white", edgecolor=_EDGE, hatch=hatch, label=label)
        for label, hatch in (("non-adaptive", ""), ("adaptive", "///"))
    ]
    handles.append(axes.barh([np.nan], [np.nan], color=_NO_QUALITY, label="no Q_score: pixels do not correspond"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return _saved(figure, file_format)


def preset_figure(
    parameter: str, curves: Mapping[str, Sequence[tuple[float, Interval]]], *, file_format: str = "svg"
) -> bytes:
    """D_score along a parameter, a line for each scenario with bars for its intervals.

    Args:
        parameter: its name.
        curves: by scenario, (value, D_score) by ascending value.
        file_format: as matplotlib takes it.
    """
    figure, axes = _figure(width=7.4, height=3.6)
    for scenario, points in curves.items():
        values = np.array([interval.value for _, interval in points])
        bounds = np.array([[interval.low, interval.high] for _, interval in points])
        reach = np.abs(bounds - values[:, None])
        reach[~np.isfinite(reach)] = 0
        axes.errorbar([x for x, _ in points], values, yerr=reach.T, marker="o", capsize=3, label=scenario)
    axes.axhline(0, color=PLACEBO_COLOUR, linewidth=0.8)
    axes.set_xlabel(parameter, parse_math=False)
    axes.set_ylabel("D_score, % of the score range")
    axes.legend(frameon=False, fontsize=8, loc="best")
    return _saved(figure, file_format)


def _figure(*, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _named(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a submitter's name is a name


def _saved(figure: Figure, file_format: str) -> bytes:
    buffer = io.BytesIO()
    # Ids are random without a salt: equal records are to make equal pages.
    with rc_context({"svg.hashsalt": "iqa-robustness"}):
        figure.savefig(buffer, format=file_format, metadata={"Date": None} if file_format == "svg" else None)
    return buffer.getvalue()
