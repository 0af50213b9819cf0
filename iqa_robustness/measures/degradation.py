"""What a defense makes of images that are truly bad: does it rate them better, and does more damage still cost more?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa_robustness.measures.disparity import paired, shifts


def biases(
    scores: ArrayLike, defended: ArrayLike, *, diam: float, higher_is_better: bool = True
) -> NDArray[np.float64]:
    """(N,) how much better the defense makes each image look, f(P(x)) − f(x) towards better, in per cent of diam."""
    return shifts(scores, defended, diam=diam) * (1 if higher_is_better else -1)


def order_lost(
    milder: ArrayLike,
    worse: ArrayLike,
    defended_milder: ArrayLike,
    defended_worse: ArrayLike,
    *,
    higher_is_better: bool = True,
) -> NDArray[np.float64]:
    """(N,) whether a defense inverts the order of two levels of damage to an image: 0 no, 1 yes, ½ a tie behind it.

    NaN where the metric itself does not rate the worse level lower: there is no order that could be lost.

    Args:
        milder: (N,) scores of the images with less damage.
        worse: (N,) scores with more of it.
        defended_milder: (N,) the same behind the defense.
        defended_worse: (N,) the same.
        higher_is_better: the direction of the metric.
    """
    sign = 1 if higher_is_better else -1
    before, after = (
        (np.subtract(*paired(*pair))) * sign for pair in ((milder, worse), (defended_milder, defended_worse))
    )
    lost: NDArray[np.float64] = (1 - np.sign(after)) / 2
    lost[~(before > 0)] = np.nan
    return lost
