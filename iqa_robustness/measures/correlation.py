"""Rank agreement: SROCC with opinion scores, and how many pairs of images an attack swaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from iqa_robustness.measures.disparity import paired


def srocc(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation with mean ranks for ties; NaN when either side is constant or shorter than 2.

    Source: Pearson correlation of the ranks, as `scipy.stats.spearmanr`.
    """
    a, b = paired(first, second)
    if a.size < 2 or np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    ranks_a, ranks_b = rankdata(a) - (a.size + 1) / 2, rankdata(b) - (b.size + 1) / 2
    norm = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    return float(ranks_a @ ranks_b) / norm if norm > 0 else float("nan")


def srocc_without(first: ArrayLike, second: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """`srocc` without the images of each cluster, (C,): ranks lose those of the cluster that were below.

    Args:
        first, second: (N,) as of `srocc`, without NaN.
        labels: (N,) the clusters' numbers, from 0.
    """
    of = np.asarray(labels, np.intp)
    kept = of != np.arange(of.max() + 1)[:, None]
    a, b = (np.where(kept, _ranks_without(scores, of), 0.0) for scores in paired(first, second))
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = (a * b).sum(axis=1) / norms
    return found


def rank_flips(before: ArrayLike, after: ArrayLike) -> float:
    """Share of image pairs in the opposite order (or tied) afterwards, of those that had an order; NaN if none had, or
    where a score is NaN.

    Ties afterwards count as half a flip, as a coin would decide them.
    """
    swapped, ordered = _pairs(before, after)
    return float(swapped.sum() / ordered.sum()) if ordered.any() else float("nan")


def rank_flips_without(before: ArrayLike, after: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """`rank_flips` without the images of each cluster, (C,): from one table of all pairs instead of C.

    Args:
        before, after: (N,) as of `rank_flips`.
        labels: (N,) the clusters' numbers, from 0.
    """
    swapped, ordered = (totals_without(pairs, labels) for pairs in _pairs(before, after))
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = swapped / ordered
    return shares


def totals_without(pairs: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Totals of a table of pairs without the rows and columns of each cluster, (C,).

    Args:
        pairs: (N, N) a number for each pair.
        labels: (N,) the clusters' numbers, from 0.
    """
    table, of = np.asarray(pairs, np.float64), np.asarray(labels, np.intp)
    inside = [float(table[np.ix_(rows, rows)].sum()) for rows in (np.flatnonzero(of == c) for c in range(of.max() + 1))]
    rows, columns = (np.bincount(of, table.sum(axis=axis)) for axis in (1, 0))
    totals: NDArray[np.float64] = table.sum() - rows - columns + np.array(inside)
    return totals


def _ranks_without(scores: NDArray[np.float64], of: NDArray[np.intp]) -> NDArray[np.float64]:
    """(C, N) each image's rank among those of the other clusters, from their middle."""
    below = [
        np.searchsorted(field, scores, side="left") + np.searchsorted(field, scores, side="right")
        for field in (np.sort(scores[of == cluster]) for cluster in range(of.max() + 1))
    ]
    left: NDArray[np.float64] = (scores.size - np.bincount(of)[:, None]).astype(np.float64)
    ranks: NDArray[np.float64] = rankdata(scores) - np.array(below) / 2 - (left + 1) / 2
    return ranks


def _pairs(before: ArrayLike, after: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, N) each: how far a pair is swapped, 0 to 1, if it had an order, and whether it had one; each pair twice."""
    a, b = paired(before, after)
    order_a, order_b = np.sign(a[:, None] - a[None, :]), np.sign(b[:, None] - b[None, :])
    ordered = np.abs(order_a)
    return ordered * (1 - order_a * order_b) / 2, ordered
