"""Ranks with their uncertainty: how certain each place is, and between which places no difference was found."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, rankdata, studentized_range

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.intervals import LEVEL

_RESAMPLES = 2000
_SEED = 20240801


@dataclass(frozen=True, kw_only=True)
class RankInterval:
    """A contestant's place by its mean, 1 for the least; half places where means are equal.

    low, high: between which the place lies in so many resamples.
    """

    rank: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CriticalDifference:
    """Friedman's test over contents, and Nemenyi's difference of mean ranks.

    mean_ranks: of each contestant over contents, 1 for the least.
    difference: mean ranks that are closer are not different; NaN with fewer than two contents.
    p: of Friedman's hypothesis that all are alike.
    groups: of contestants (their positions) between which no difference was found, from the least mean rank upwards;
        each as large as it can be, none of a single one.
    contents: independent blocks behind it.
    """

    mean_ranks: tuple[float, ...]
    difference: float
    p: float
    groups: tuple[tuple[int, ...], ...]
    contents: int


def content_means(values: ArrayLike, contents: Sequence[Hashable]) -> NDArray[np.float64]:
    """(N, K) numbers of images to (C, K) means of contents, sorted by content.

    Raises:
        ConfigurationError: not one row an image, no contestant, or a NaN.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or len(table) != len(contents) or not table.size:
        raise ConfigurationError(
            f"{len(contents)} rows with a number for each contestant are needed, got the shape {table.shape}",
            fix="pass one row an image and one column a contestant",
        )
    if np.isnan(table).any():
        raise ConfigurationError(
            "contestants are compared on the same images, and some number is NaN",
            fix="leave out the images or the contestants without a number",
        )
    labels = np.unique(np.asarray([str(content) for content in contents]), return_inverse=True)[1]
    sums = np.zeros((labels.max() + 1, table.shape[1]))
    np.add.at(sums, labels, table)
    means: NDArray[np.float64] = sums / np.bincount(labels)[:, None]
    return means


def bootstrap_ranks(
    values: ArrayLike, contents: Sequence[Hashable], *, level: float = LEVEL
) -> tuple[RankInterval, ...]:
    """Each contestant's place by its mean over contents, the least first, with a percentile interval.

    Whole contents are drawn with replacement, for all contestants the same, and places are given anew. The resampling
    seed is fixed, so equal data give equal intervals.

    Args:
        values: (N, K) a number for each image and contestant; lower is better.
        contents: (N,) the cluster of each image.
        level: two-sided coverage.

    Raises:
        ConfigurationError: see `content_means`.

    Source: Goldstein and Spiegelhalter 1996 (League tables and their limitations), with a bootstrap of clusters.
    """
    means = content_means(values, contents)
    places = rankdata(means.mean(axis=0))
    drawn = np.random.RandomState(_SEED).randint(0, len(means), (_RESAMPLES, len(means)))
    counts = np.stack([np.bincount(row, minlength=len(means)) for row in drawn])
    # Means that differ by rounding alone are equal.
    ranks = rankdata(np.round(counts @ means / len(means), 9), axis=1)
    tail = (1 - level) / 2
    low = np.quantile(ranks, tail, axis=0, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=0, method="higher")
    return tuple(
        RankInterval(rank=float(place), low=min(float(least), float(place)), high=max(float(most), float(place)))
        for place, least, most in zip(places, low, high, strict=True)
    )


def critical_difference(values: ArrayLike, contents: Sequence[Hashable], *, level: float = LEVEL) -> CriticalDifference:
    """Which contestants differ, by Friedman's test over contents and Nemenyi's comparison of all pairs.

    Contents are the independent blocks: the cells that a content is in say the same thing several times. Where
    Friedman's test finds no difference, all contestants are one group.

    Args:
        values: (N, K) a number for each image and contestant, two or more; lower is better.
        contents: (N,) the cluster of each image.
        level: of both tests, for all pairs together.

    Raises:
        ConfigurationError: see `content_means`; or a single contestant.

    Source: Demšar, JMLR 7 (2006), sections 3.2.2 and 3.2.3; Conover's form of Friedman's statistic, with ties.
    """
    means = content_means(values, contents)
    blocks, count = means.shape
    if count < 2:
        raise ConfigurationError("a single contestant cannot be compared", fix="pass two columns or more")
    ranks = rankdata(means, axis=1)
    centred = ranks - (count + 1) / 2
    spread = float((centred**2).sum())
    p = 1.0
    if spread > 0:
        statistic = (count - 1) * float((centred.sum(axis=0) ** 2).sum()) / spread
        p = float(chi2.sf(statistic, count - 1))
    mean_ranks = ranks.mean(axis=0)
    difference = math.nan
    if blocks > 1:
        quantile = float(studentized_range.ppf(level, count, np.inf)) / math.sqrt(2)
        difference = quantile * math.sqrt(count * (count + 1) / (6 * blocks))
    alike = p >= 1 - level or math.isnan(difference)
    return CriticalDifference(
        mean_ranks=tuple(float(rank) for rank in mean_ranks),
        difference=difference,
        p=p,
        groups=_groups(mean_ranks, math.inf if alike else difference),
        contents=blocks,
    )


def _groups(mean_ranks: NDArray[np.float64], difference: float) -> tuple[tuple[int, ...], ...]:
    """Runs of neighbours by mean rank that lie within the difference, the largest ones."""
    order = [int(place) for place in np.argsort(mean_ranks, kind="stable")]
    found: list[tuple[int, ...]] = []
    reached = 0
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and mean_ranks[order[last + 1]] - mean_ranks[order[first]] < difference:
            last += 1
        if last > first and last + 1 > reached:
            found.append(tuple(order[first : last + 1]))
            reached = last + 1
    return tuple(found)
