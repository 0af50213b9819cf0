"""JPEG as Pillow writes and reads it, and in torch: the same values nearly, with slopes to pass backward through."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from iqa_robustness.errors import ConfigurationError

Slope = Literal["soft", "straight-through"]

# ITU-T T.81, tables K.1 and K.2.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
# JFIF: rows give Y, Cb − 128 and Cr − 128 of RGB.
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
# Share of the ripple in the soft slope; see `_rounded`.
_RIPPLE = 0.75


def check_quality(quality: int) -> None:
    """Raise ConfigurationError unless a quality lies on libjpeg's scale, 1 … 100."""
    if not 1 <= quality <= 100:
        raise ConfigurationError(f"JPEG quality must lie in 1 … 100, got {quality}")


def round_trip(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Write (…, H, W, 3) uint8 as baseline JPEG with 4:2:0 and read it back; each picture on its own."""
    decoded = np.empty_like(pixels)
    for place in np.ndindex(pixels.shape[:-3]):
        buffer = io.BytesIO()
        Image.fromarray(pixels[place]).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(buffer) as image:
            decoded[place] = np.asarray(image)
    return decoded


def coded(images: Tensor, quality: int, *, slope: Slope = "soft") -> Tensor:
    """Compress and decompress as baseline JPEG with 4:2:0 does, without rounding pixels to 8 bits.

    Images: (N, 3, H, W) in [0, 1], any size, to the same. Sides are filled up to multiples of 16 with the edge.
    quality: 1 … 100, libjpeg's scale.
    slope: what the backward pass takes for the slope of rounding a coefficient; see `_rounded`.
    """
    height, width = images.shape[-2:]
    filled = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    luma, *chroma = _mixed(filled * 255, _TO_YCBCR).unbind(1)
    planes = [_plane(luma - 128, _table(_LUMINANCE, quality), slope) + 128]
    for plane in chroma:
        halved = F.avg_pool2d(plane[:, None], 2)[:, 0]
        restored = _plane(halved, _table(_CHROMINANCE, quality), slope)[:, None]
        planes.append(F.interpolate(restored, scale_factor=2, mode="bilinear", align_corners=False)[:, 0])
    return (_mixed(torch.stack(planes, dim=1), _TO_RGB) / 255)[..., :height, :width].clamp(0, 1)


def _mixed(channels: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("oc,nchw->nohw", channels.new_tensor(matrix), channels)


def _plane(plane: Tensor, table: Tensor, slope: Slope) -> Tensor:
    """(N, H, W) levels through the cosine transform, quantization by an 8 × 8 table, and back."""
    count, height, width = plane.shape
    basis = torch.from_numpy(scipy.fft.dct(np.eye(8), axis=0, norm="ortho")).to(plane)
    table = table.to(plane)
    blocks = plane.view(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    coefficients = _rounded(basis @ blocks @ basis.T / table, slope)
    decoded = basis.T @ (coefficients * table) @ basis
    return decoded.transpose(2, 3).reshape(count, height, width)


def _table(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """A table at a quality, in libjpeg's integer arithmetic."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255)


def _rounded(values: Tensor, slope: Slope) -> Tensor:
    """The nearest whole numbers, halves away from 0 as in libjpeg, with a slope for the backward pass.

    `straight-through`: 1. `soft`: 1 − ¾ cos 2πu, that of a ripple around the identity, steep where a coefficient is
    about to change its step, flat where a small perturbation is rounded away again. Most coefficients of a picture are
    of the latter kind, at 0; a straight slope spends the perturbation on them.
    """
    stand_in = values
    if slope == "soft":
        stand_in = values - _RIPPLE * torch.sin(2 * math.pi * values) / (2 * math.pi)
    return values.sign() * (values.abs() + 0.5).floor() + (stand_in - stand_in.detach())
