"""How well a detector tells attacked images from clean ones: AUC, ROC, and what a threshold finds on other contents."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.intervals import LEVEL, Interval, mean_interval, statistic_interval

_RESAMPLES = 2000
_SEED = 20240801

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Roc:
    """The points of a ROC curve, from (0, 0) to (1, 1), one for each suspicion that occurs.

    thresholds: an image is called attacked if its suspicion is at least this; infinite at the first point.
    false_positive_rates, true_positive_rates: shares of clean and of attacked images called attacked.
    """

    thresholds: Values
    false_positive_rates: Values
    true_positive_rates: Values


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What thresholds find that were chosen on other contents.

    true_positive_rate, false_positive_rate: shares of attacked and of clean images called attacked, 0 to 1.
    """

    true_positive_rate: Interval
    false_positive_rate: Interval


def roc(clean: ArrayLike, attacked: ArrayLike) -> Roc:
    """The curve of (N,) clean and (M,) attacked suspicions. Raises ConfigurationError for none, or NaN."""
    negatives, positives = _suspicions(clean), _suspicions(attacked)
    thresholds = np.unique(np.concatenate([negatives, positives]))[::-1]
    return Roc(
        thresholds=np.concatenate([[np.inf], thresholds]),
        false_positive_rates=np.concatenate([[0.0], _share_at_least(negatives, thresholds)]),
        true_positive_rates=np.concatenate([[0.0], _share_at_least(positives, thresholds)]),
    )


def auc(clean: ArrayLike, attacked: ArrayLike) -> float:
    """The chance that an attacked image is more suspicious than a clean one, ties as a half: the area under the ROC.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982. Raises ConfigurationError for no suspicions, or NaN.
    """
    negatives, positives = _suspicions(clean), _suspicions(attacked)
    ranks = rankdata(np.concatenate([negatives, positives]))[len(negatives) :]
    wins = ranks.sum() - len(positives) * (len(positives) + 1) / 2
    return float(wins / (len(positives) * len(negatives)))


def auc_interval(
    clean: ArrayLike,
    attacked: ArrayLike,
    *,
    clean_contents: Sequence[Hashable],
    attacked_contents: Sequence[Hashable],
    level: float = LEVEL,
) -> Interval:
    """The AUC with an interval by the bootstrap over contents: a content brings its clean and its attacked images.

    Percentiles of resampled contents are too narrow for few of them; so each bound is the wider one of these and of
    the jackknife's with Student's t. Resamples without clean or without attacked images are left out. Fewer than three
    contents give an unbounded interval, within [0, 1]. The resampling seed is fixed.

    Args:
        clean: (N,) suspicions of clean images.
        attacked: (M,) suspicions of attacked ones.
        clean_contents: (N,) the cluster of each.
        attacked_contents: (M,) the cluster of each.
        level: two-sided coverage.
    """
    negatives, positives = _suspicions(clean), _suspicions(attacked)
    labels = _labels(clean_contents, attacked_contents, len(negatives), len(positives))
    value = auc(negatives, positives)
    clusters = int(labels.max()) + 1
    of_clean, of_attacked = labels[: len(negatives)], labels[len(negatives) :]
    wins = np.zeros((clusters, clusters))
    above = np.sign(positives[:, None] - negatives[None, :]) / 2 + 0.5
    np.add.at(wins, (of_attacked[:, None], of_clean[None, :]), above)
    counts = np.stack([np.bincount(of, minlength=clusters) for of in (of_attacked, of_clean)])

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        pairs = (weights @ counts[0]) * (weights @ counts[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            area: NDArray[np.float64] = np.einsum("rc,cd,rd->r", weights, wins, weights) / pairs
        return area

    def without(rows: NDArray[np.intp]) -> float:
        return float(of_weights(np.isin(np.arange(clusters), rows).astype(np.float64)[None])[0])

    jackknife = statistic_interval(without, range(clusters), level=level)
    if not math.isfinite(jackknife.low):
        return Interval.unknown(value, clusters).within(0, 1)
    drawn = np.random.RandomState(_SEED).randint(0, clusters, (_RESAMPLES, clusters))
    weights = np.stack([np.bincount(row, minlength=clusters) for row in drawn]).astype(np.float64)
    areas = of_weights(weights)
    tail = (1 - level) / 2
    low, high = (float(bound) for bound in np.nanquantile(areas, [tail, 1 - tail]))
    return Interval(value=value, low=min(low, jackknife.low), high=max(high, jackknife.high), clusters=clusters).within(
        0, 1
    )


def threshold_at(clean: ArrayLike, rate: float) -> float:
    """The least threshold above which at most a share `rate` of further clean images is expected.

    Of n clean suspicions it is number ⌈(n + 1)(1 − rate)⌉ in ascending order; infinite where there is none, that is
    with fewer than 1 / rate − 1 images. An image is called attacked if its suspicion is larger.

    Source: split conformal prediction (Vovk et al. 2005): the promise holds for images exchangeable with these.
    Raises: ConfigurationError for no suspicions, NaN, or a rate that is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ConfigurationError(f"a false positive rate lies strictly between 0 and 1, got {rate}")
    ordered = np.sort(_suspicions(clean))
    # The slack keeps 20 × 0.95 at 19: the product may come out an ulp above.
    place = math.ceil((len(ordered) + 1) * (1 - rate) - 1e-9)
    return float(ordered[place - 1]) if place <= len(ordered) else math.inf


def held_out(
    clean: ArrayLike,
    attacked: ArrayLike,
    *,
    clean_contents: Sequence[Hashable],
    attacked_contents: Sequence[Hashable],
    rate: float = 0.05,
) -> HeldOut:
    """Rates at thresholds that are chosen, for each content, on the clean images of all others (`threshold_at`).

    Args:
        clean: (N,) suspicions of clean images.
        attacked: (M,) suspicions of attacked ones.
        clean_contents: (N,) the cluster of each.
        attacked_contents: (M,) the cluster of each.
        rate: false positives that are aimed at. With too few clean images nothing is called attacked.
    """
    negatives, positives = _suspicions(clean), _suspicions(attacked)
    labels = _labels(clean_contents, attacked_contents, len(negatives), len(positives))
    of_clean, of_attacked = labels[: len(negatives)], labels[len(negatives) :]
    thresholds = np.full(int(labels.max()) + 1, np.inf)
    for content in range(len(thresholds)):
        others = negatives[of_clean != content]
        if len(others):
            thresholds[content] = threshold_at(others, rate)

    def share(suspicions: Values, of: NDArray[np.intp]) -> Interval:
        called = (suspicions > thresholds[of]).astype(np.float64)
        return mean_interval(called, of.tolist()).within(0, 1)

    return HeldOut(true_positive_rate=share(positives, of_attacked), false_positive_rate=share(negatives, of_clean))


def _suspicions(values: ArrayLike) -> Values:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or np.isnan(array).any():
        raise ConfigurationError(
            f"suspicions are one number an image, of at least one image, and not NaN; got the shape {array.shape}",
            fix="pass (N,) arrays of clean and attacked suspicions",
        )
    return array


def _labels(
    clean_contents: Sequence[Hashable], attacked_contents: Sequence[Hashable], clean: int, attacked: int
) -> NDArray[np.intp]:
    """Clusters of clean and attacked images, one after the other, numbered alike."""
    for contents, count in ((clean_contents, clean), (attacked_contents, attacked)):
        if len(contents) != count:
            raise ConfigurationError(f"{count} suspicions need as many contents, got {len(contents)}")
    names = [str(content) for content in (*clean_contents, *attacked_contents)]
    found: NDArray[np.intp] = np.unique(np.asarray(names), return_inverse=True)[1]
    return found


def _share_at_least(values: Values, thresholds: Values) -> Values:
    ordered = np.sort(values)
    return (len(ordered) - np.searchsorted(ordered, thresholds, side="left")) / len(ordered)
