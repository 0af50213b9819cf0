"""How a measure is called, computed and limited."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iqa_robustness.measures import Interval, Scale, mean_interval, share_interval, statistic_interval
from iqa_robustness.store import Record

ATTACKED = ("nonadaptive", "adaptive", "certified", "transfer")
"""Scenarios with an attack on the score."""

NOT_NEGATIVE, SHARE = (0.0, math.inf), (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class MeasureInfo:
    """How a measure is called and computed.

    compute: takes the record.      scenarios: where the measure applies.
    limits: least and most that the measure can be, in its unit; no interval leaves them.
    form: of certificates (`median`, `classification`), where the measure exists for one alone.
    """

    title: str
    unit: str
    compute: Callable[[Record], Interval]
    scenarios: tuple[str, ...]
    limits: tuple[float, float] = (-math.inf, math.inf)
    form: str = ""


@dataclass(frozen=True)
class MeanOf:
    """The mean over images of a record's numbers.

    values: (N,) one number an image, NaN where it has none.
    """

    values: Callable[[Record], np.ndarray]

    def __call__(self, record: Record) -> Interval:
        """With its interval over contents."""
        return mean_interval(self.values(record), record.contents)


@dataclass(frozen=True)
class ShareOf:
    """The share of the images that have something.

    values: (N,) 0 or 1 an image, NaN where it is not asked.
    """

    values: Callable[[Record], np.ndarray]

    def __call__(self, record: Record) -> Interval:
        """With its interval over contents."""
        return share_interval(self.values(record), record.contents)


@dataclass(frozen=True, kw_only=True)
class RankOf:
    """A number about the order of a record's images, by one score and by another.

    statistic: of two arrays of one length.      first, second: (N,) the scores.
    scale: whether it is a correlation, in [−1, 1], or a share, in [0, 1].
    without: a quicker way to the statistic without each cluster: of the two arrays and the clusters' numbers.
    """

    statistic: Callable[[np.ndarray, np.ndarray], float]
    first: Callable[[Record], np.ndarray]
    second: Callable[[Record], np.ndarray]
    scale: Scale
    without: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None

    def of_rows(self, record: Record) -> Callable[[np.ndarray], float]:
        """The number for some of the images, by their positions."""
        a, b = self.first(record), self.second(record)
        return lambda rows: self.statistic(a[rows], b[rows])

    def __call__(self, record: Record) -> Interval:
        """With its interval over contents."""
        without, first, second = self.without, self.first(record), self.second(record)
        return statistic_interval(
            self.of_rows(record),
            record.contents,
            scale=self.scale,
            without=None if without is None else lambda labels: without(first, second, labels),
        )
