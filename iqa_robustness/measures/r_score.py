"""R_score: how many orders of magnitude a score's shift stays below the largest that it could make."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.disparity import paired

# An image whose score did not move would have an infinite value, and one such image would make every mean infinite.
# A ten-thousandth of the range is less than any table of scores prints.
LEAST_SHIFT = 1e-4


def r_values(clean: ArrayLike, attacked: ArrayLike, *, score_range: tuple[float, float]) -> NDArray[np.float64]:
    """log10(max(1 − x, x) / |x − y|) of each image, (N,); higher is more robust, 0 is the largest shift there can be.

    Args:
        clean: (N,) scores before the attack; x is their place in the range, 0 … 1.
        attacked: (N,) scores after it; y is their place in the range.
        score_range: (low, high) of the metric, in score units.

    A shift counts as at least `LEAST_SHIFT` of the range, so no value is above 4.

    Raises:
        ConfigurationError: an empty range, or arrays of different lengths.

    Source: Zhang et al., NeurIPS 2022 (Perceptual Attacks of No-Reference Image Quality Models); in this form in
        Antsiferova et al., AAAI 2024, whose published code divides by zero where nothing moved.
    """
    low, high = score_range
    if not low < high:
        raise ConfigurationError(f"the score range [{low}, {high}] is empty", fix="pass (low, high) with low < high")
    before, after = paired(clean, attacked)
    x, y = (before - low) / (high - low), (after - low) / (high - low)
    values: NDArray[np.float64] = np.log10(np.maximum(1 - x, x) / np.maximum(np.abs(x - y), LEAST_SHIFT))
    return values


def r_score(clean: ArrayLike, attacked: ArrayLike, *, score_range: tuple[float, float]) -> float:
    """Mean of `r_values`."""
    return float(r_values(clean, attacked, score_range=score_range).mean())
