"""Rank agreement: SROCC with opinion scores, and how many pairs of images an attack swaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
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


def rank_flips(before: ArrayLike, after: ArrayLike) -> float:
    """Share of image pairs in the opposite order (or tied) afterwards, of those that had an order; NaN if none had, or
    where a score is NaN.

    Ties afterwards count as half a flip, as a coin would decide them.
    """
    a, b = paired(before, after)
    upper = np.triu_indices(a.size, 1)
    order_a = np.sign(a[:, None] - a[None, :])[upper]
    order_b = np.sign(b[:, None] - b[None, :])[upper]
    ordered = order_a != 0
    if not ordered.any():
        return float("nan")
    return float(((1 - order_a * order_b) / 2)[ordered].mean())
