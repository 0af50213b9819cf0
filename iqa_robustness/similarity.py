"""Differentiable full-reference similarities of image batches: SSIM, PSNR and norms of the difference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity with a 7 × 7 uniform window and sample covariance, mean over pixels and channels.

    Images: (N, 3, H, W) in [0, 1], H and W at least 7. Returns (N,), 1 for equal images. Differentiable.

    Source: Wang et al., IEEE TIP 2004; window, covariance and the cut border as in the benchmark, which calls
    `skimage.metrics.structural_similarity(channel_axis, data_range=1)`.
    """
    count = _WINDOW * _WINDOW
    sample = count / (count - 1)
    # float64: the variance is a difference of two nearly equal numbers in flat regions.
    first, second = first.double(), second.double()
    moments = torch.cat([first, second, first * first, second * second, first * second])
    # Rows, then columns: a seventh of the additions of one square window.
    moments = F.avg_pool2d(F.avg_pool2d(moments, (_WINDOW, 1), stride=1), (1, _WINDOW), stride=1)
    mean_1, mean_2, square_1, square_2, product = moments.chunk(5)
    variance_1 = sample * (square_1 - mean_1 * mean_1)
    variance_2 = sample * (square_2 - mean_2 * mean_2)
    covariance = sample * (product - mean_1 * mean_2)
    c1, c2 = _K1**2, _K2**2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    structure = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    return (luminance * structure).mean(dim=(1, 2, 3)).float()


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal images.

    Images: (N, 3, H, W) in [0, 1]. Returns (N,). Differentiable where finite.
    """
    return -10 * (first - second).double().square().mean(dim=(1, 2, 3)).log10().float()


def linf(first: Tensor, second: Tensor) -> Tensor:
    """Largest absolute difference of one value, in units of 1. (N, 3, H, W) twice to (N,)."""
    return (first - second).abs().amax(dim=(1, 2, 3))


def l2(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean norm of the difference over all values, in units of 1. (N, 3, H, W) twice to (N,)."""
    return (first - second).double().square().sum(dim=(1, 2, 3)).sqrt().float()


def l0(first: Tensor, second: Tensor) -> Tensor:
    """Number of pixels that differ in any channel. (N, 3, H, W) twice to (N,) float32."""
    red, green, blue = (first != second).unbind(dim=1)  # a third cheaper than `any` over the channels
    return (red | green | blue).sum(dim=(1, 2)).float()
