"""How far scores move: D_score and its signed, placebo-corrected and scale-free companions.

All in per cent of the score range `diam` (its width in score units), so that metrics can be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa_robustness.errors import ConfigurationError

Scores = NDArray[np.float64]


def paired(first: ArrayLike, second: ArrayLike) -> tuple[Scores, Scores]:
    """Two (N,) arrays as float64. Raises ConfigurationError where numpy would broadcast or cut one to the other."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ConfigurationError(
            f"two arrays of one length are needed, got the shapes {a.shape} and {b.shape}",
            fix="pass one number an image, in the same order on both sides",
        )
    return a, b


def shifts(before: ArrayLike, after: ArrayLike, *, diam: float) -> Scores:
    """Signed shift of each image's score, (N,), in per cent of diam. Raises ConfigurationError on bad input."""
    if not 0 < diam < np.inf:
        raise ConfigurationError(
            f"diam must be positive and finite, got {diam}", fix="pass the width of the score range"
        )
    first, second = paired(before, after)
    return 100 * (second - first) / diam


def d_score(clean: ArrayLike, attacked: ArrayLike, *, diam: float) -> float:
    """Mean absolute shift, in per cent of diam; 0 is untouched, above 100 is more than the whole range.

    D_score has f(x) as `clean` and f(P(x')) as `attacked`; D_score^(D) has f(P(x)) as `clean`.

    Source: Guardians of Image Quality, section 4 (there as a share times 100); the code's `robust_abs_gain`.
    """
    return float(np.abs(shifts(clean, attacked, diam=diam)).mean())


def d_score_excess(clean: ArrayLike, attacked: ArrayLike, placebo: ArrayLike, *, diam: float) -> float:
    """D_score less the D_score of a placebo (random signs of equal l∞), in per cent of diam, paired by image."""
    return d_score(clean, attacked, diam=diam) - d_score(clean, placebo, diam=diam)


def gain(clean: ArrayLike, attacked: ArrayLike, *, diam: float, higher_is_better: bool = True) -> float:
    """Mean signed shift towards better scores, in per cent of diam."""
    return float(shifts(clean, attacked, diam=diam).mean()) * (1 if higher_is_better else -1)


def gain_halves(
    clean: ArrayLike, attacked: ArrayLike, *, diam: float, higher_is_better: bool = True
) -> tuple[float, float]:
    """(raised, lowered): the parts of D_score from images whose score got better and worse; they add up to it."""
    signed = shifts(clean, attacked, diam=diam) * (1 if higher_is_better else -1)
    return float(np.maximum(signed, 0).mean()), float(np.maximum(-signed, 0).mean())


def effect_size(clean: ArrayLike, attacked: ArrayLike) -> float:
    """Mean absolute shift ÷ standard deviation of the clean scores, free of the declared range; NaN if that is 0."""
    before, after = paired(clean, attacked)
    spread = float(before.std(ddof=1)) if before.size > 1 else 0.0
    return float(np.abs(after - before).mean()) / spread if spread > 0 else float("nan")
