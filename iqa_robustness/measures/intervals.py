"""Confidence intervals that respect contents: crops and quality levels of one photograph are not independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

LEVEL = 0.95
_RESAMPLES = 2000
_SEED = 20240801


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with two-sided confidence bounds; unbounded where the data cannot say.

    value, low, high: in the unit of the measure.
    clusters: independent contents behind it.
    """

    value: float
    low: float
    high: float
    clusters: int

    @classmethod
    def unknown(cls, value: float, clusters: int) -> Interval:
        """An estimate about whose error nothing is known."""
        return cls(value=value, low=-math.inf, high=math.inf, clusters=clusters)

    def within(self, least: float, most: float) -> Interval:
        """With bounds that do not leave what the measure can be at all: a mean of distances is not negative."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def mean_interval(values: ArrayLike, contents: Sequence[Hashable], *, level: float = LEVEL) -> Interval:
    """Interval of a mean over images, by the studentised bootstrap over contents.

    Whole contents are drawn with replacement, each resample's mean is divided by its own linearised standard error, and
    the quantiles of that ratio replace Student's: this follows the skew of shifts, which are never negative.
    A resample of equal contents has no error to divide by. With two or three contents, or where most do not move at
    all, that is what most resamples are; so Student's interval is taken in, and each bound is the wider of the two.
    The resampling seed is fixed, so equal data give equal intervals. Fewer than two contents give an unbounded one, as
    does an infinite mean.

    Args:
        values: (N,) one number an image; NaN are left out.
        contents: (N,) the cluster of each image.
        level: two-sided coverage, 0.95 by default.

    Source: Efron and Tibshirani 1993, section 12.5 (bootstrap-t); Cameron et al. 2008 for clusters.
    """
    numbers = np.asarray(values, np.float64)
    known = ~np.isnan(numbers)
    numbers, labels = numbers[known], [c for c, k in zip(contents, known, strict=True) if k]
    if not numbers.size:
        return Interval.unknown(float("nan"), 0)
    sums, counts = _by_cluster(numbers, labels)
    with np.errstate(invalid="ignore"):  # an infinite value has no deviation from its mean
        mean, error = (float(part[0]) for part in _ratio(sums[None], counts[None]))
    if len(sums) < 2 or not math.isfinite(mean):
        return Interval.unknown(mean, len(sums))
    # Rounding noise of a mean is no spread; dividing by it would make the ratios meaningless.
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Interval(value=mean, low=mean, high=mean, clusters=len(sums))
    drawn = np.random.RandomState(_SEED).randint(0, len(sums), (_RESAMPLES, len(sums)))
    means, errors = _ratio(sums[drawn], counts[drawn])
    usable = errors > 1e-3 * error
    ratios = (means[usable] - mean) / errors[usable]
    tail = (1 - level) / 2
    reach = _student(level, len(sums))
    above, below = (float(q) for q in np.quantile(ratios, [1 - tail, tail])) if ratios.size else (reach, -reach)
    above, below = max(above, reach), min(below, -reach)
    return Interval(value=mean, low=mean - above * error, high=mean - below * error, clusters=len(sums))


def statistic_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    contents: Sequence[Hashable],
    *,
    level: float = LEVEL,
    correlation: bool = False,
) -> Interval:
    """Interval of any statistic of the images, by leaving out one content at a time (jackknife) and Student's t.

    Args:
        statistic: takes indices of images, returns the number for those images.
        contents: (N,) the cluster of each image.
        level: two-sided coverage.
        correlation: the statistic lies in [−1, 1]; the interval is made on Fisher's scale, where it is nearly normal.

    Returns:
        The statistic of all images with bounds; unbounded with fewer than three contents or an undefined statistic.
    """
    everything = np.arange(len(contents))
    labels = np.unique(np.asarray([str(content) for content in contents]), return_inverse=True)[1]
    clusters = int(labels.max()) + 1 if len(labels) else 0
    value = statistic(everything)
    if clusters < 3 or math.isnan(value):
        return Interval.unknown(value, clusters)
    parts = np.array([statistic(everything[labels != cluster]) for cluster in range(clusters)])
    if np.isnan(parts).any():
        return Interval.unknown(value, clusters)
    limit = 1 - 1e-9
    scaled = np.array([value, *parts])
    if correlation:
        scaled = np.arctanh(np.clip(scaled, -limit, limit))
    centre, replicates = float(scaled[0]), scaled[1:]
    error = math.sqrt((clusters - 1) / clusters * float(((replicates - replicates.mean()) ** 2).sum()))
    reach = _student(level, clusters) * error
    low, high = centre - reach, centre + reach
    if correlation:
        low, high = math.tanh(low), math.tanh(high)
    # A correlation of 1 lies beyond every finite point of Fisher's scale.
    return Interval(value=value, low=min(low, value), high=max(high, value), clusters=clusters)


def _student(level: float, clusters: int) -> float:
    """Half the width of Student's interval, in standard errors."""
    return float(student.ppf(1 - (1 - level) / 2, clusters - 1))


def _by_cluster(
    values: NDArray[np.float64], contents: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels = np.unique(np.asarray([str(content) for content in contents]), return_inverse=True)[1]
    return np.bincount(labels, weights=values).astype(np.float64), np.bincount(labels).astype(np.float64)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and its linearised standard error for each row of cluster sums and counts."""
    total = counts.sum(axis=1)
    means = sums.sum(axis=1) / total
    residuals = sums - means[:, None] * counts
    clusters = sums.shape[1]
    correction = clusters / max(clusters - 1, 1)
    return means, np.sqrt(correction * (residuals**2).sum(axis=1)) / total
