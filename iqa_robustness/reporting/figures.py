"""Pictures of a cell: what was changed, and what it did to the scores."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import get_data_path, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from iqa_robustness.reporting.results import Curve

_CAPTION, _MARGIN, _TITLE_SIZE, _TEXT_SIZE = 40, 6, 12, 10
_INK, _PAPER = (25, 25, 28), (255, 255, 255)
# Labels of budgets that are closer than this part of the axis would run into each other.
_TICKS = 10
CLEAN_COLOUR, ATTACKED_COLOUR, PLACEBO_COLOUR = "#2b6cb0", "#c05621", "#718096"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a row: (H, W, 3) uint8 pixels, a title and a line below it."""

    pixels: np.ndarray
    title: str
    text: str


def amplified_difference(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """Difference around middle grey, enlarged so that its largest value fills the scale.

    Args:
        first: (H, W, 3) uint8.
        second: the same shape.

    Returns:
        (H, W, 3) uint8, and the factor; factor 1 for equal images.
    """
    difference = second.astype(np.int16) - first.astype(np.int16)
    factor = max(1, 127 // max(int(np.abs(difference).max()), 1))
    return np.clip(128 + difference * factor, 0, 255).astype(np.uint8), factor


def contact_sheet(rows: Sequence[Sequence[Panel]]) -> bytes:
    """Rows of panels as one JPEG: pictures of one row side by side, captions above them."""
    width = max(panel.pixels.shape[1] for row in rows for panel in row)
    columns = max(len(row) for row in rows)
    heights = [max(panel.pixels.shape[0] for panel in row) + _CAPTION for row in rows]
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, sum(heights) + _MARGIN * (len(rows) + 1)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    # Pillow's own font lacks ∞ and ×; this one comes with matplotlib.
    font = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    title, text = ImageFont.truetype(font, _TITLE_SIZE), ImageFont.truetype(font, _TEXT_SIZE)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for place, panel in enumerate(row):
            left = _MARGIN + place * (width + _MARGIN)
            draw.text((left, top), panel.title, _INK, title)
            draw.text((left, top + 18), panel.text, _INK, text)
            sheet.paste(Image.fromarray(panel.pixels), (left, top + _CAPTION))
        top += height + _MARGIN
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=92, subsampling="4:4:4")
    return buffer.getvalue()


def shift_plot(clean: np.ndarray, attacked: np.ndarray, placebo: np.ndarray, *, title: str, axis: str) -> bytes:
    """Every image's score before and after, sorted by the clean score, as an SVG.

    Args:
        clean: (N,) scores of the clean images.
        attacked: (N,) scores under attack.
        placebo: (N,) scores under noise of the same size.
        title: of the figure.
        axis: name and unit of the scores.
    """
    order = np.argsort(clean)
    places = np.arange(len(clean))
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.vlines(places, clean[order], attacked[order], colors=ATTACKED_COLOUR, linewidth=1, alpha=0.5)
    axes.plot(places, placebo[order], "x", color=PLACEBO_COLOUR, markersize=5, label="placebo (noise of equal size)")
    axes.plot(places, attacked[order], "o", color=ATTACKED_COLOUR, markersize=4, label="attacked")
    axes.plot(places, clean[order], "o", color=CLEAN_COLOUR, markersize=4, label="clean")
    axes.set_title("\n".join(textwrap.wrap(title, 80)), fontsize=11 if len(title) <= 60 else 8)
    axes.set_xlabel("images, by clean score")
    axes.set_ylabel("\n".join(textwrap.wrap(axis, 32)))
    axes.set_xticks([])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


_UNITS = {"linf": ("l∞, levels of 255", 255.0), "l0": ("pixels", 1.0), "l2": ("l2, units of 1", 1.0)}
_UNITS |= {"ssim": ("1 − SSIM", 1.0), "psnr": ("RMS change, levels of 255", 255.0)}


def curve_plot(curves: Sequence[Curve], restriction: str) -> str:
    """Gain against budget, a line an attack with bars for its intervals, as an SVG.

    Args:
        curves: of one target.
        restriction: of all of them; it names the axis.
    """
    name, factor = _UNITS.get(restriction, (restriction, 1.0))
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        values = np.array([gain[0] for gain in curve.gains])
        bounds = np.array([gain[1:] for gain in curve.gains])
        reach = np.nan_to_num(np.abs(bounds - values[:, None])).T
        limits = [factor * limit for limit in curve.limits]
        axes.errorbar(limits, values, yerr=reach, marker="o", capsize=3, label=curve.attack)
    budgets = sorted({float(f"{factor * limit:.3g}") for curve in curves for limit in curve.limits})
    if np.diff(budgets).min(initial=np.inf) > (budgets[-1] - budgets[0]) / _TICKS:
        axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
    axes.axhline(0, color=PLACEBO_COLOUR, linewidth=0.8)
    axes.set_xlabel(f"budget: {name}")
    axes.set_ylabel("gain, % of the score range")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    buffer = io.StringIO()
    # Ids from the content, so that equal curves give equal bytes; words as words, which a page can colour.
    with rc_context({"svg.hashsalt": "iqa-robustness", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue()


def spoken(value: float, digits: int = 1) -> str:
    """A number for a caption; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
