"""Pictures of experiments: ROC curves of detectors, and what defenses make of damaged images, level by level."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from iqa_robustness.bench.degradations import Harm
from iqa_robustness.bench.detection import Detection
from iqa_robustness.reporting.figures import PLACEBO_COLOUR

_DASHES = ("-", "--", ":", "-.")
# As many as matplotlib's colours; further defenses take another dash.
_COLOURS = 10
_WIDE = 3


def roc_figure(found: Sequence[Detection], *, file_format: str = "svg") -> bytes:
    """A panel for each (metric, attack), a colour for each detector, a dash for each strength.

    Args:
        found: at least one.
        file_format: as matplotlib takes it.
    """
    panels: dict[tuple[str, str], list[Detection]] = {}
    for one in found:
        panels.setdefault((one.metric, one.attack), []).append(one)
    detectors, strengths = (
        list(dict.fromkeys(getattr(one, name) for one in found)) for name in ("detector", "strength")
    )
    figure, axes = _grid(len(panels), width=5.6, height=3.8)
    for place, ((metric, attack), curves) in zip(axes, panels.items(), strict=True):
        place.plot([0, 1], [0, 1], color=PLACEBO_COLOUR, linewidth=0.8)
        for one in curves:
            place.plot(
                one.roc.false_positive_rates,
                one.roc.true_positive_rates,
                color=f"C{detectors.index(one.detector) % _COLOURS}",
                linestyle=_DASHES[strengths.index(one.strength) % len(_DASHES)],
                label=f"{one.detector}, {one.strength}: {one.auc.value:.2f}",
            )
        place.set_title(f"{metric}, {attack}", fontsize=10)
        place.set_xlabel("clean images called attacked")
        place.set_ylabel("attacked images called attacked")
        for axis in (place.xaxis, place.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        place.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), title="AUC", title_fontsize=7)
    return _saved(figure, file_format)


def degradation_figure(found: Sequence[Harm], *, file_format: str = "svg") -> bytes:
    """A panel for each (metric, degradation): bias against level, a line for each defense with its interval.

    Args:
        found: at least one.
        file_format: as matplotlib takes it.
    """
    panels: dict[tuple[str, str], dict[str, list[Harm]]] = {}
    for one in found:
        panels.setdefault((one.metric, one.degradation), {}).setdefault(one.defense, []).append(one)
    defenses = list(dict.fromkeys(one.defense for one in found))
    figure, axes = _grid(len(panels), width=4.6, height=3.4)
    for place, ((metric, degradation), lines) in zip(axes, panels.items(), strict=True):
        place.axhline(0, color=PLACEBO_COLOUR, linewidth=0.8)
        _draw_biases(place, lines, defenses)
        place.set_title(f"{metric}, {degradation}", fontsize=10)
        place.set_xlabel("level of damage")
        place.set_ylabel("bias of the defense, %")
        place.set_xticks(sorted({one.level for line in lines.values() for one in line}))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=min(len(labels), 6))
    return _saved(figure, file_format)


def _draw_biases(place: Axes, lines: Mapping[str, Sequence[Harm]], defenses: Sequence[str]) -> None:
    for defense, line in lines.items():
        number = defenses.index(defense)
        values = np.array([one.bias.value for one in line])
        bounds = np.array([(one.bias.low, one.bias.high) for one in line])
        # Beside each other, so that bars of several defenses can be told apart.
        aside = 0.5 * ((number + 0.5) / len(defenses) - 0.5)
        place.errorbar(
            np.array([one.level for one in line]) + aside,
            values,
            yerr=np.where(np.isfinite(bounds), np.abs(bounds - values[:, None]), 0).T,
            color=f"C{number % _COLOURS}",
            linestyle=_DASHES[number // _COLOURS % len(_DASHES)],
            marker="o",
            markersize=3,
            capsize=2,
            linewidth=1,
            label=defense,
        )


def _grid(count: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, _WIDE) if count != 4 else 2
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for place in axes:
        place.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Figure, file_format: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, metadata={"Date": None} if file_format == "svg" else None)
    return buffer.getvalue()
