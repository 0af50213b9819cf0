"""What natural-scene statistics are taken of: grey levels, locally normalised, at two scales; MATLAB's conventions."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# First row of the inverse of MATLAB's RGB-to-YIQ matrix, as `rgb2gray` computes it; they add up to 1.
_LUMA = (0.298936021293776, 0.587043074451121, 0.114020904255103)
_RADIUS, _SIGMA = 3, 7 / 6
# Variances below this are rounding noise of float64 filtering of values up to 255.
_VARIANCE_FLOOR = 1e-12
# Far above rounding errors of float64, far below what one grey level in one pixel makes of its neighbours.
_ROUNDING = 1e-9
# `circshift` arguments (rows, columns) of the four neighbours whose products are fitted.
Shift = tuple[int, int]


def grey_levels(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] to (N, H, W) float64 whole grey levels 0 to 255, as `rgb2gray` makes of 8-bit images.

    Rounded half up; backward the rounding counts as the identity, or no gradient would pass.
    """
    # In float32, 255 · (k / 255) is k exactly, so that no half is rounded the wrong way.
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=images.device)
    grey = ((images * 255).to(torch.float64) * weights[:, None, None]).sum(dim=1)
    return grey + ((grey + 0.5).floor() - grey).detach()


def normalized(grey: Tensor, *, border: Literal["zero", "replicate"]) -> Tensor:
    """(N, H, W) grey levels minus their local mean, over 1 + their local deviation.

    The window is a Gaussian of 7 × 7 and sigma 7/6. Beyond the border the image is 0 (MATLAB's `filter2`) or goes on as
    its last row or column (`imfilter` with `replicate`).

    Differs from the published code: a pixel that equals its surroundings is exactly 0. There, rounding errors of either
    sign remain, and what follows counts signs: the order of summation then moves BRISQUE by up to 10 on flat images.
    """
    mean = _windowed(grey, border)
    variance = _windowed(grey.square(), border) - mean.square()
    values = (grey - mean) / ((variance.abs() + _VARIANCE_FLOOR).sqrt() + 1)
    return values - torch.where(values.abs() < _ROUNDING, values, 0.0).detach()


def _windowed(grey: Tensor, border: Literal["zero", "replicate"]) -> Tensor:
    window = [math.exp(-(offset**2) / (2 * _SIGMA**2)) for offset in range(-_RADIUS, _RADIUS + 1)]
    mode = "constant" if border == "zero" else "replicate"
    padded = F.pad(grey[:, None], (_RADIUS,) * 4, mode=mode)[:, 0]
    return _along_rows(_along_rows(padded, window).mT, window).mT


def halved(grey: Tensor) -> Tensor:
    """(N, H, W) to (N, ⌈H/2⌉, ⌈W/2⌉): MATLAB's `imresize(…, 0.5)`, bicubic, antialiased, mirrored at the border."""
    return _halved_rows(_halved_rows(grey).mT).mT


def _halved_rows(grey: Tensor) -> Tensor:
    # Output row i lies between the input rows 2 i and 2 i + 1; the cubic kernel, stretched by 2, reaches four each way.
    height = grey.shape[1]
    rows = torch.arange(-3, height + 3 + height % 2, device=grey.device) % (2 * height)
    mirrored = grey[:, torch.minimum(rows, 2 * height - 1 - rows)]
    return _along_rows(mirrored, [_cubic((offset - 3.5) / 2) for offset in range(8)], step=2)


def _along_rows(values: Tensor, window: list[float], *, step: int = 1) -> Tensor:
    """(N, H, W) to (N, (H − len(window)) // step + 1, W): weighted means of neighbouring rows."""
    # Slices, added up: half the time and memory of a convolution with one channel in float64.
    reach = values.shape[1] - len(window) + 1
    total = torch.zeros_like(values[:, :reach:step])
    for offset, weight in enumerate(window):
        total = total + weight / sum(window) * values[:, offset : offset + reach : step]
    return total


def _cubic(distance: float) -> float:
    """Keys' interpolation kernel with a = −1/2."""
    x = abs(distance)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def neighbour_products(values: Tensor, shift: Shift) -> Tensor:
    """(…, H, W) times itself moved by (rows, columns), round the edge, as MATLAB's `circshift` does."""
    return values * values.roll(shift, dims=(-2, -1))
