"""Unknown attacks: rank agreement on a set of which a share is attacked, and nobody says which images these are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.disparity import Scores, paired
from iqa_robustness.measures.intervals import LEVEL, Interval, statistic_interval

MIXES = 50
"""Mixes that are averaged: choosing other images moves a mean of so many by less than a tenth of its interval."""

# Every group that is left out ranks all mixes anew; more of them narrow Student's quantile by less than 5 per cent.
_GROUPS = 20
_SEED = 20241121


def mixes_of(count: int, *, share: float, mixes: int = MIXES) -> NDArray[np.bool_]:
    """(mixes, count) which images are attacked in each mix: round(share · count) of them, drawn without replacement.

    The draws are seeded: equal arguments give equal mixes, and a larger share attacks the same images and more.

    Raises:
        ConfigurationError: a share outside of [0, 1], or no mixes.
    """
    if not 0 <= share <= 1 or mixes < 1:
        raise ConfigurationError(
            f"a mix needs a share from 0 to 1 and at least one draw, got share={share}, mixes={mixes}",
            fix="give the attacked share of the images, 0.5 for half of them",
        )
    order = np.random.RandomState(_SEED).uniform(size=(mixes, count)).argsort(axis=1).argsort(axis=1)
    chosen: NDArray[np.bool_] = order < round(share * count)
    return chosen


def mixture_srocc(
    truth: ArrayLike, clean: ArrayLike, attacked: ArrayLike, *, share: float, mixes: int = MIXES
) -> float:
    """Mean over mixes of the rank correlation of the truth with what is reported; NaN where one of them is undefined.

    Args:
        truth: (N,) what the order should be: opinion scores, or the metric's scores of the clean images.
        clean: (N,) what is reported of each image if it is not attacked.
        attacked: (N,) what is reported of it if it is.
        share: of the images that are attacked in every mix, 0 to 1.
        mixes: how many are averaged.
    """
    expected, before, after = _checked(truth, clean, attacked)
    return _mean_srocc(expected, before, after, mixes_of(expected.size, share=share, mixes=mixes))


def mixture_interval(
    truth: ArrayLike,
    clean: ArrayLike,
    attacked: ArrayLike,
    contents: Sequence[Hashable],
    *,
    share: float,
    mixes: int = MIXES,
    level: float = LEVEL,
) -> Interval:
    """`mixture_srocc` with its interval: the jackknife over (groups of) contents on Fisher's scale, with Student's t.

    Contents are left out in at most 20 groups; the mixes stay what they are, so that the interval is about the images.
    """
    expected, before, after = _checked(truth, clean, attacked)
    chosen = mixes_of(expected.size, share=share, mixes=mixes)

    def statistic(rows: NDArray[np.intp]) -> float:
        return _mean_srocc(expected[rows], before[rows], after[rows], chosen[:, rows])

    return statistic_interval(statistic, _grouped(contents), level=level, scale="correlation")


def _checked(truth: ArrayLike, clean: ArrayLike, attacked: ArrayLike) -> tuple[Scores, Scores, Scores]:
    first, second = paired(truth, clean)
    return first, second, paired(truth, attacked)[1]


def _mean_srocc(truth: Scores, clean: Scores, attacked: Scores, chosen: NDArray[np.bool_]) -> float:
    if truth.size < 2 or np.isnan(truth).any():
        return float("nan")
    middle = (truth.size + 1) / 2
    expected = rankdata(truth) - middle
    reported = rankdata(np.where(chosen, attacked, clean), axis=1) - middle
    norms = np.sqrt((expected @ expected) * (reported**2).sum(axis=1))
    if not (norms > 0).all():  # a side is constant, or a score is unknown
        return float("nan")
    return float((reported @ expected / norms).mean())


def _grouped(contents: Sequence[Hashable]) -> list[int]:
    """A group's number for each image: contents stay whole, and there are at most `_GROUPS`."""
    labels = np.unique(np.asarray([str(content) for content in contents]), return_inverse=True)[1]
    if not labels.size:
        return []
    dealt = np.random.RandomState(_SEED).permutation(int(labels.max()) + 1) % _GROUPS
    groups: list[int] = dealt[labels].tolist()
    return groups
