"""A stand-in for human scores where there are none: a full-reference formula on a distorted image and its source.

It is called `pseudo` wherever it is shown, gates nothing but the bundled set's own run, and never enters a leaderboard.
"""

from __future__ import annotations

import numpy as np

# Stabiliser of the gradient similarity: the published 170 for values up to 255, squared scale (Xue et al., section II).
_STABILISER = 170 / 255**2
# The deviation at which the score reaches 0; the worst level of any common distortion stays below it.
_WORST_DEVIATION = 0.35


def gradient_deviation(reference: np.ndarray, distorted: np.ndarray) -> float:
    """Gradient magnitude similarity deviation (GMSD) of two photographs: 0 when equal, about 0.3 at worst.

    Args:
        reference: (H, W, 3) uint8, H and W at least 8.
        distorted: the same shape.

    Source: Xue, Zhang, Mou, Bovik, IEEE TIP 2014, eq. 1–6: luma, 2 × 2 mean and subsampling, Prewitt magnitudes,
    standard deviation of their similarity map.
    """
    first, second = _gradient_magnitude(_half_luma(reference)), _gradient_magnitude(_half_luma(distorted))
    similarity = (2 * first * second + _STABILISER) / (first**2 + second**2 + _STABILISER)
    return float(similarity.std())


def pseudo_mos(reference: np.ndarray, distorted: np.ndarray) -> float:
    """100 for an untouched photograph, falling linearly with `gradient_deviation` to 0 at 0.35; rounded to 0.01.

    Args:
        reference: (H, W, 3) uint8.
        distorted: the same shape.
    """
    return round(max(0.0, 100.0 * (1 - gradient_deviation(reference, distorted) / _WORST_DEVIATION)), 2)


def _half_luma(pixels: np.ndarray) -> np.ndarray:
    rows, columns = (size // 2 * 2 for size in pixels.shape[:2])
    luma = pixels[:rows, :columns].astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
    quarters = luma.reshape(rows // 2, 2, columns // 2, 2)
    halved: np.ndarray = quarters.mean(axis=(1, 3))
    return halved


def _gradient_magnitude(plane: np.ndarray) -> np.ndarray:
    padded = np.pad(plane, 1, mode="edge")
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    horizontal = (across[:-2] + across[1:-1] + across[2:]) / 3
    vertical = (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / 3
    magnitude: np.ndarray = np.hypot(horizontal, vertical)
    return magnitude
