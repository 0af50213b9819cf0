"""The measures of the earlier study of purifications: gain relative to the score, and quality with half the PSNR."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa_robustness.measures.disparity import paired
from iqa_robustness.measures.quality import PSNR_CAP

_LEAST_SCORE = 1e-6


def relative_gains(clean: ArrayLike, attacked: ArrayLike) -> NDArray[np.float64]:
    """|f(x) − f(P(x'))| ÷ |f(x)| of each image, (N,), a share; 0 is untouched.

    It depends on where a metric's scale has its zero: not to be compared between metrics.

    Source: the study's code, `robust_rel_gain`, which divides by f(x) + 1e-6; the same for scores above zero.
    """
    before, after = paired(clean, attacked)
    return np.abs(before - after) / (np.abs(before) + _LEAST_SCORE)


def study_qualities(ssim: ArrayLike, psnr: ArrayLike) -> NDArray[np.float64]:
    """(SSIM + PSNR / 80) / 2 of each image, (N,), PSNR in dB capped at `PSNR_CAP`; NaN stays NaN (not applicable).

    Source: Gushchin et al., Adversarial purification for no-reference image-quality metrics, arXiv 2404.06957.
    """
    similarity, ratio = paired(ssim, psnr)
    return (similarity + np.minimum(ratio, PSNR_CAP) / 80) / 2
