"""How many places an image climbs in a ranking when it alone is attacked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iqa_robustness.measures.correlation import totals_without
from iqa_robustness.measures.disparity import Scores, paired


def rank_displacement(
    before: ArrayLike,
    after: ArrayLike,
    *,
    entrants: ArrayLike | None = None,
    higher_is_better: bool = True,
) -> float:
    """Mean over entrants of the places that each climbs among the N − 1 others, all clean; per cent of N − 1.

    −100 … 100: 100 is from the last place to the first, 0 stays, negative falls. A tie is half a place.

    Args:
        before: (N,) scores of the clean images.
        after: (N,) scores of the attacked images; those of other than entrants are not looked at.
        entrants: (N,) bool; every image in turn when None.
        higher_is_better: direction of the scores.

    Returns:
        NaN with fewer than two images or without entrants, or where a score that counts is NaN.
    """
    clean, attacked = (scores * (1 if higher_is_better else -1) for scores in paired(before, after))
    chosen = np.ones(clean.size, bool) if entrants is None else np.asarray(entrants, bool)
    old, new = paired(clean[chosen], attacked[chosen])
    if clean.size < 2 or not old.size or np.isnan(clean).any() or np.isnan(new).any():
        return float("nan")
    climbed = _places(new, clean, own=old) - _places(old, clean, own=old)
    return float(100 * climbed.mean() / (clean.size - 1))


def rank_displacement_without(
    before: ArrayLike, after: ArrayLike, labels: ArrayLike, *, entrants: ArrayLike | None = None
) -> Scores:
    """`rank_displacement` without the images of each cluster, (C,), higher being better.

    Args:
        before, after, entrants: (N,) as of `rank_displacement`.
        labels: (N,) the clusters' numbers, from 0.
    """
    clean, attacked = paired(before, after)
    of = np.asarray(labels, np.intp)
    chosen = np.ones(clean.size, bool) if entrants is None else np.asarray(entrants, bool)
    climbs = (np.sign(attacked[:, None] - clean[None, :]) - np.sign(clean[:, None] - clean[None, :])) / 2
    np.fill_diagonal(climbs, 0)
    climbed = totals_without(np.where(chosen[:, None], climbs, 0), of)
    images, left = np.bincount(of), chosen.sum() - np.bincount(of, chosen)
    with np.errstate(invalid="ignore", divide="ignore"):
        places: Scores = 100 * climbed / left / (clean.size - images - 1)
    return places


def _places(scores: Scores, field: Scores, *, own: Scores) -> Scores:
    """How many of the field each score is above, ties half; the entrant's own clean score is not in its field."""
    ordered = np.sort(field)
    above = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    itself = (own < scores).astype(np.float64) + (own <= scores)
    places: Scores = (above - itself) / 2
    return places
