"""Q_score: what is left of an image after purification, from SSIM and PSNR."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa_robustness.measures.disparity import paired

# Equal images have an infinite PSNR, which would make every mean infinite. One value changed by one 8-bit level
# among 384 × 512 × 3 gives 106 dB: the cap loses nothing a person or a mean could tell.
PSNR_CAP = 100.0


def q_values(ssim: ArrayLike, psnr: ArrayLike) -> NDArray[np.float64]:
    """SSIM + PSNR / 40 of each image, PSNR in dB capped at `PSNR_CAP`; NaN stays NaN (not applicable)."""
    similarity, ratio = paired(ssim, psnr)
    return similarity + np.minimum(ratio, PSNR_CAP) / 40


def q_score(ssim: ArrayLike, psnr: ArrayLike) -> float:
    """Mean of SSIM + PSNR / 40 over the images where both exist; NaN if there are none. Higher is better.

    Source: Guardians of Image Quality, section 4; its code keeps infinite PSNR values, here they are capped.
    """
    values = q_values(ssim, psnr)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
