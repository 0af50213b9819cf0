"""The gains of a cell's images as a distribution: a few numbers in its outcome, drawn as a strip and a histogram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iqa_robustness.measures.disparity import shifts
from iqa_robustness.store import Record

BINS = 20
_DIGITS = 4
# A common axis ends at so many times what nine cells in ten stay within: else one image flattens all others.
_REACH = 1.25


def distribution_of(record: Record) -> dict[str, Any]:
    """The distribution whose mean is the measure `gain`; empty for a cell without an attack on the score.

    Returns:
        `low`, `high`: ends, per cent of the range; `counts`: images in each of `BINS` bins of equal width between
        them, a single bin where all gains are alike; `quartiles`: 25, 50 and 75 %.
    """
    if "attack" not in record.meta:
        return {}
    towards_better = 1 if record.higher_is_better else -1
    gains = towards_better * shifts(record.scores("clean"), record.scores("defended_attacked"), diam=record.diam)
    gains = np.round(gains[np.isfinite(gains)], _DIGITS)
    if not len(gains):
        return {}
    low, high = float(gains.min()), float(gains.max())
    counts = np.histogram(gains, bins=BINS, range=(low, high))[0] if high > low else np.array([len(gains)])
    quartiles = np.percentile(gains, [25, 50, 75])
    return {
        "low": low,
        "high": high,
        "counts": [int(count) for count in counts],
        "quartiles": [round(float(quartile), _DIGITS) for quartile in quartiles],
    }


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis of gains that always shows zero; what lies beyond its ends is drawn at them.

    low, high: per cent of the range, low < high.      width: of the drawing, units of its view box.
    """

    low: float
    high: float
    width: float

    @classmethod
    def over(cls, found: Iterable[Mapping[str, Any]], *, width: float) -> Scale:
        """That holds these distributions, but for single ones that go far beyond most of them."""
        ends = np.array(
            [(distribution["low"], distribution["high"]) for distribution in found if distribution] or [(0, 0)]
        )
        reach = _REACH * float(np.quantile(np.abs(ends).max(axis=1), 0.9))
        low, high = max(float(ends.min()), -reach), min(float(ends.max()), reach)
        low, high = min(low, 0.0), max(high, 0.0)
        return cls(low=low, high=high if high > low else low + 1.0, width=width)

    def place(self, gain: float) -> float:
        """Where a gain is drawn, to a hundredth."""
        inside = min(max(gain, self.low), self.high)
        return round(self.width * (inside - self.low) / (self.high - self.low), 2)


def bars(distribution: Mapping[str, Any], scale: Scale, *, height: float) -> str:
    """The histogram as an SVG path, standing on y = `height`; the tallest bar reaches y = 0."""
    counts: Sequence[int] = distribution["counts"]
    edges = np.linspace(distribution["low"], distribution["high"], len(counts) + 1)
    tallest = max(counts)
    path = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            start = scale.place(float(left))
            across = round(max(scale.place(float(right)) - start, 1.0), 2)  # alike gains have no width of their own
            path.append(f"M{start:g} {height:g}v{-round(height * count / tallest, 2):g}h{across:g}V{height:g}z")
    return "".join(path)
