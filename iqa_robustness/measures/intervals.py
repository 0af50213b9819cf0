"""Confidence intervals that respect contents: crops and quality levels of one photograph are not independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import beta
from scipy.stats import t as student

LEVEL = 0.95
Scale = Literal["plain", "correlation", "share"]
"""What a statistic is: any number, a correlation in [−1, 1] or a share in [0, 1]."""

_RESAMPLES = 2000
_SEED = 20240801
# The part of the skewness, taken as one at least, that a sample does not show: a few far values are rarely in it. With
# less, the mean of an exponential's distances from its mean is held by 92 % of intervals at 30 contents; with more,
# that of a normal distribution by over 97 %.
_UNSEEN = 0.7


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

    @property
    def finite(self) -> list[float | None]:
        """Value, low and high as JSON can say them; None for a number that does not exist."""
        return [number if math.isfinite(number) else None for number in (self.value, self.low, self.high)]

    def within(self, least: float, most: float) -> Interval:
        """With bounds that do not leave what the measure can be at all: a mean of distances is not negative."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def mean_interval(values: ArrayLike, contents: Sequence[Hashable], *, level: float = LEVEL) -> Interval:
    """Interval of a mean over images, by the studentised bootstrap over contents.

    Whole contents are drawn with replacement, each resample's mean is divided by its own linearised standard error, and
    the quantiles of that ratio replace Student's: this follows the skew of shifts, which are never negative.
    A resample of equal contents has no error to divide by. With two or three contents, or where most do not move at
    all, that is what most resamples are; so Student's interval is taken in, and each bound is the wider of the two.
    A sample also shows less skew than there is, since few of its values are far out: so the side of the skew reaches
    as much further as 0.7 of the skewness (at least one) more would ask for.
    The resampling seed is fixed, so equal data give equal intervals. Fewer than two contents give an unbounded one, as
    does an infinite mean.

    Args:
        values: (N,) one number an image; NaN are left out.
        contents: (N,) the cluster of each image.
        level: two-sided coverage, 0.95 by default.

    Source: Efron and Tibshirani 1993, section 12.5 (bootstrap-t); Cameron et al. 2008 for clusters; Hall, The Bootstrap
    and Edgeworth Expansion (1992), section 2.6, for what skewness does to the quantiles of Student's ratio.
    """
    sums, counts = _by_cluster(*_known(values, contents))
    if not len(sums):
        return Interval.unknown(float("nan"), 0)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2 or not math.isfinite(mean):
        return Interval.unknown(mean, len(sums))
    residuals = sums - mean * counts
    error = _error(residuals, counts)
    # Rounding noise of a mean is no spread; dividing by it would make the ratios meaningless.
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Interval(value=mean, low=mean, high=mean, clusters=len(sums))
    below, above = _studentised(residuals, counts, level)
    return Interval(value=mean, low=mean - below * error, high=mean + above * error, clusters=len(sums))


def statistic_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    contents: Sequence[Hashable],
    *,
    level: float = LEVEL,
    scale: Scale = "plain",
    without: Callable[[NDArray[np.intp]], NDArray[np.float64]] | None = None,
    bootstrap: bool = False,
) -> Interval:
    """Interval of a smooth statistic of the images, by leaving out one content at a time (jackknife) and Student's t.

    How much the statistic changes without a content is that content's influence; where influences are skew, their mean
    can be resampled as `mean_interval` resamples values. Not for quantiles, which do not change smoothly: see
    `percentile_range_interval`.

    Args:
        statistic: takes indices of images, returns the number for those images.
        contents: (N,) the cluster of each image.
        level: two-sided coverage.
        scale: of a `correlation` the interval is made on Fisher's scale, where it is nearly normal; of a `share` on the
            logit's, which is Fisher's for one less twice the share (of swapped pairs: Kendall's correlation).
        without: a quicker way to the statistic without each cluster: takes (N,) the clusters' numbers from 0, returns
            (C,) one number a cluster.
        bootstrap: follow the skew of the influences. Not for a correlation, which Fisher's scale makes nearly normal:
            with ten contents the resamples' own errors vary so much that hardly anything would be excluded.

    Returns:
        The statistic of all images with bounds; unbounded with fewer than three contents or an undefined statistic.

    Source: Efron and Tibshirani 1993, sections 11.5 and 12.5 (jackknife pseudo-values, bootstrap-t).
    """
    everything = np.arange(len(contents))
    labels = _labels(contents)
    clusters = int(labels.max()) + 1 if len(labels) else 0
    value = statistic(everything)
    if clusters < 3 or math.isnan(value):
        return Interval.unknown(value, clusters)
    if without is None:
        parts = np.array([statistic(everything[labels != cluster]) for cluster in range(clusters)])
    else:
        parts = without(labels)
    if np.isnan(parts).any():
        return Interval.unknown(value, clusters)
    scaled = _scaled(np.array([value, *parts]), scale)
    centre, replicates = float(scaled[0]), scaled[1:]
    influences = (clusters - 1) * (replicates.mean() - replicates)
    counts = np.ones(clusters)
    error = _error(influences, counts)
    below = above = student_quantile(level, clusters)
    if bootstrap and error > 1e-12 * max(1.0, abs(centre)):
        below, above = _studentised(influences, counts, level)
    low, high = sorted(_unscaled(bound, scale) for bound in (centre - below * error, centre + above * error))
    # A correlation of 1 lies beyond every finite point of Fisher's scale.
    return Interval(value=value, low=min(low, value), high=max(high, value), clusters=clusters)


def share_interval(values: ArrayLike, contents: Sequence[Hashable], *, level: float = LEVEL) -> Interval:
    """Interval of a share of the images: exact binomial bounds for as many images as the clusters are worth.

    A bootstrap of noughts is certain of nothing but noughts. Images of one content are worth fewer independent ones,
    by the variance between contents; where all images are alike, which shows no variance, each content is worth one.
    Discrete, so wider than nominal.

    Args:
        values: (N,) 0 or 1 an image; NaN are left out.
        contents: (N,) the cluster of each image.
        level: two-sided coverage.

    Source: Korn and Graubard, Survey Methodology 24 (1998); Clopper and Pearson 1934.
    """
    numbers, labels = _known(values, contents)
    sums, counts = _by_cluster(numbers, labels)
    if not len(sums):
        return Interval.unknown(float("nan"), 0)
    share = float(sums.sum() / counts.sum())
    worth = _worth(sums - share * counts, counts, share, level)
    successes, tail = share * worth, (1 - level) / 2
    low = float(beta.ppf(tail, successes, worth - successes + 1)) if share > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, worth - successes)) if share < 1 else 1.0
    return Interval(value=share, low=low, high=high, clusters=len(sums))


def percentile_range_interval(
    values: ArrayLike, contents: Sequence[Hashable], *, percentiles: tuple[float, float], level: float = LEVEL
) -> Interval:
    """Interval of the distance between two percentiles over images, which a jackknife or bootstrap gets wrong.

    Each percentile lies between two order statistics, whatever the distribution; the two intervals are put together
    as those of independent estimates. Where too few images lie beyond a percentile for it to be bounded on that side
    (73 are needed beyond the 95th), the distance has no upper bound.

    Args:
        values: (N,) one number an image; NaN are left out.
        contents: (N,) the cluster of each image.
        percentiles: lower and upper, 0 to 100.
        level: two-sided coverage.

    Source: Woodruff, JASA 47 (1952), with fractional order statistics (Hutson, J. Applied Statistics 26, 1999); Zou and
    Donner, Statistics in Medicine 27 (2008), for the difference.
    """
    numbers, labels = _known(values, contents)
    clusters = len({str(label) for label in labels})
    if not numbers.size:
        return Interval.unknown(float("nan"), 0)
    lower, upper = (float(number) for number in np.percentile(numbers, percentiles))
    value = upper - lower
    if clusters < 3:
        return Interval.unknown(value, clusters)
    least, most = (_percentile_bounds(numbers, labels, percent / 100, level) for percent in percentiles)
    # A percentile that is not bounded on a side says nothing there; the values themselves are all that is known.
    inner = min(most[0], upper), max(least[1], lower)
    low = value - math.hypot(upper - inner[0], inner[1] - lower)
    high = value + math.hypot(max(most[1] - upper, 0), max(lower - least[0], 0))
    return Interval(value=value, low=max(min(low, value), 0.0), high=high, clusters=clusters)


def _scaled(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    if scale == "plain":
        return values
    limit = 1 - 1e-9
    correlations = 1 - 2 * values if scale == "share" else values
    found: NDArray[np.float64] = np.arctanh(np.clip(correlations, -limit, limit))
    return found


def _unscaled(value: float, scale: Scale) -> float:
    if scale == "plain":
        return value
    return (1 - math.tanh(value)) / 2 if scale == "share" else math.tanh(value)


@lru_cache(maxsize=64)
def student_quantile(level: float, clusters: int) -> float:
    """Half the width of Student's interval over clusters, two or more, in standard errors."""
    return float(student.ppf(1 - (1 - level) / 2, clusters - 1))


def _percentile_bounds(
    values: NDArray[np.float64], contents: Sequence[Hashable], share: float, level: float
) -> tuple[float, float]:
    """Where order statistics, interpolated, bound a percentile; infinite where there is none so far out."""
    ordered, tail = np.sort(values), (1 - level) / 2
    sums, counts = _by_cluster((values <= np.quantile(values, share)).astype(np.float64), contents)
    worth = _worth(sums - sums.sum() / counts.sum() * counts, counts, share, level)

    def rank(chance: float) -> float:
        """Of that order statistic of so many images that lies below the percentile with this chance."""
        if betainc(worth, 1, share) > chance:
            return math.inf
        if betainc(1e-9, worth + 1, share) < chance:
            return -math.inf
        return float(brentq(lambda r: betainc(r, worth - r + 1, share) - chance, 1e-9, worth)) * len(values) / worth

    first, last = rank(1 - tail), rank(tail)
    ranks = np.arange(1, len(values) + 1)
    return (
        float(np.interp(first, ranks, ordered)) if first >= 1 else -math.inf,
        float(np.interp(last, ranks, ordered)) if last <= len(values) else math.inf,
    )


def _worth(residuals: NDArray[np.float64], counts: NDArray[np.float64], share: float, level: float) -> float:
    """How many independent images a share among clustered ones rests on; never more than there are."""
    images, clusters = float(counts.sum()), len(counts)
    if clusters < 2:
        return 1.0
    error = _error(residuals, counts)
    if error <= 1e-12:
        return float(clusters)
    known = (student_quantile(level, int(images)) / student_quantile(level, clusters)) ** 2
    return min(images, known * share * (1 - share) / error**2)


def _studentised(residuals: NDArray[np.float64], counts: NDArray[np.float64], level: float) -> tuple[float, float]:
    """How far down and up an interval reaches, in standard errors: the wider of the bootstrap's and Student's reach.

    On the side of the skew it is further, for what a sample does not show of it.

    Args:
        residuals: (C,) each cluster's sum less what its images would have at the overall mean.
        counts: (C,) images of each cluster.
        level: two-sided coverage.
    """
    weights, error = _resamples(len(counts)), _error(residuals, counts)
    totals = weights @ counts
    shifts = weights @ residuals / totals
    squares = weights @ residuals**2 - 2 * shifts * (weights @ (residuals * counts)) + shifts**2 * (weights @ counts**2)
    clusters = len(counts)
    errors = np.sqrt(clusters / (clusters - 1) * np.maximum(squares, 0)) / totals
    usable = errors > 1e-3 * error
    tail, reach = (1 - level) / 2, student_quantile(level, clusters)
    below = above = reach
    if usable.any():
        least, most = (float(q) for q in np.quantile(shifts[usable] / errors[usable], [tail, 1 - tail]))
        below, above = max(most, reach), max(-least, reach)
    skewness = float((residuals**3).mean() / (residuals**2).mean() ** 1.5)
    # How far a skewness of one shifts the ratio's quantile. Without any skew, half of it goes to each side.
    shift = (2 * reach**2 + 1) / (6 * math.sqrt(clusters))
    down, up = (_UNSEEN * shift * max((1 + side) / 2, side, 0.0) for side in (-skewness, skewness))
    return below + down, above + up


@lru_cache(maxsize=4)
def _resamples(clusters: int) -> NDArray[np.float64]:
    """(resamples, clusters) how often each cluster is drawn; always the same ones."""
    drawn = np.random.RandomState(_SEED).randint(0, clusters, (_RESAMPLES, clusters))
    places = drawn + clusters * np.arange(_RESAMPLES)[:, None]
    return np.bincount(places.ravel(), minlength=_RESAMPLES * clusters).reshape(_RESAMPLES, clusters).astype(np.float64)


def _error(residuals: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """The linearised standard error of a mean over clusters, of which there are two or more."""
    clusters = len(counts)
    return math.sqrt(clusters / (clusters - 1) * float(residuals @ residuals)) / float(counts.sum())


def _known(values: ArrayLike, contents: Sequence[Hashable]) -> tuple[NDArray[np.float64], list[Hashable]]:
    """Values that are not NaN, with their contents."""
    numbers = np.asarray(values, np.float64)
    known = ~np.isnan(numbers)
    return numbers[known], [c for c, k in zip(contents, known, strict=True) if k]


def _labels(contents: Sequence[Hashable]) -> NDArray[np.intp]:
    numbers: dict[str, int] = {name: place for place, name in enumerate(sorted({str(content) for content in contents}))}
    return np.array([numbers[str(content)] for content in contents], np.intp)


def _by_cluster(
    values: NDArray[np.float64], contents: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels = _labels(contents)
    return np.bincount(labels, weights=values).astype(np.float64), np.bincount(labels).astype(np.float64)
