"""Distortions of a photograph in integer arithmetic alone, so that no library version or CPU changes one bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# ½ cos(m π / 16) for m = 0 … 8 in units of 2⁻²⁰: the entries of the orthonormal 8x8 DCT, rounded.
_HALF_COSINES = (524288, 514214, 484379, 435930, 370728, 291279, 200636, 102284, 0)
_DCT_BITS = 20
# The luminance table of ITU-T T.81, Annex K.
_QUANTISER = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.int64,
)
# Blurring keeps this many bits below the 8 of a pixel, so that many passes do not lose the picture to rounding.
_BLUR_BITS = 12


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """What one quality level does to a photograph, in the order of a camera: light, lens, sensor, file.

    contrast: what is left of it, in 256ths; 256 changes nothing.
    blur: passes of the binomial kernel (1 4 6 4 1) / 16 along both axes, each of variance 1 pixel².
    noise: grain equal in R, G, B: the sum of four uniform integers in -noise … noise, deviation about 1.15 · noise.
    coding: 8x8 DCT quantisation, in quarters of the JPEG luminance table; 0 changes nothing.
    """

    contrast: int = 256
    blur: int = 0
    noise: int = 0
    coding: int = 0

    def apply(self, pixels: np.ndarray, *, seed: int) -> np.ndarray:
        """The distorted photograph, (H, W, 3) uint8.

        Args:
            pixels: (H, W, 3) uint8; H and W multiples of 8.
            seed: of the grain, 32 bits.
        """
        planes = np.moveaxis(pixels, -1, 0).astype(np.int32)
        if self.contrast < 256:
            planes = _faded(planes, self.contrast)
        if self.blur:
            planes = _blurred(planes, self.blur)
        if self.noise:
            planes = _grained(planes, self.noise, seed)
        if self.coding:
            planes = _coded(planes, self.coding)
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).astype(np.uint8)


def _faded(planes: np.ndarray, kept: int) -> np.ndarray:
    pivot = int(planes.sum(dtype=np.int64)) // planes.size
    faded: np.ndarray = _descaled((planes - pivot) * kept, 8) + pivot
    return faded


def _blurred(planes: np.ndarray, passes: int) -> np.ndarray:
    fine = planes << _BLUR_BITS
    for _ in range(passes):
        for axis in (1, 2):
            fine = _smoothed(fine, axis)
    return _descaled(fine, _BLUR_BITS)


def _smoothed(planes: np.ndarray, axis: int) -> np.ndarray:
    size = planes.shape[axis]
    margins = [(0, 0), (0, 0), (0, 0)]
    margins[axis] = (2, 2)
    padded = np.pad(planes, margins, mode="edge")
    shifted = [padded[(slice(None),) * axis + (slice(start, start + size),)] for start in range(5)]
    return _descaled(shifted[0] + shifted[4] + 4 * (shifted[1] + shifted[3]) + 6 * shifted[2], 4)


def _grained(planes: np.ndarray, amplitude: int, seed: int) -> np.ndarray:
    # RandomState and not Generator: NumPy promises that its streams never change.
    random = np.random.RandomState(seed)
    grain = random.randint(-amplitude, amplitude + 1, size=(4, *planes.shape[1:]), dtype=np.int32).sum(axis=0)
    grained: np.ndarray = np.clip(planes + grain, 0, 255)
    return grained


def _coded(planes: np.ndarray, coarseness: int) -> np.ndarray:
    channels, rows, columns = planes.shape
    forward = _dct_matrix()
    blocks = planes.astype(np.int64).reshape(channels, rows // 8, 8, columns // 8, 8).swapaxes(2, 3) - 128
    steps = np.maximum((_QUANTISER * coarseness) >> 2, 1)
    coefficients = forward @ blocks @ forward.T
    kept = (coefficients + (steps << (2 * _DCT_BITS - 1))) // (steps << (2 * _DCT_BITS)) * steps
    restored = _descaled(forward.T @ kept @ forward, 2 * _DCT_BITS) + 128
    coded: np.ndarray = np.clip(restored.swapaxes(2, 3).reshape(planes.shape), 0, 255)
    return coded


def _dct_matrix() -> np.ndarray:
    """(8, 8) int64: row u, column x holds the DCT's entry in units of 2⁻²⁰."""
    matrix = np.empty((8, 8), dtype=np.int64)
    for u in range(8):
        for x in range(8):
            # The constant row is ½ cos(4 π / 16); folding brings every other angle into the first quadrant.
            angle = (2 * x + 1) * u % 32 if u else 4
            angle = min(angle, 32 - angle)
            matrix[u, x] = _HALF_COSINES[angle] if angle <= 8 else -_HALF_COSINES[16 - angle]
    return matrix


def _descaled(values: np.ndarray, bits: int) -> np.ndarray:
    """Values / 2^bits, rounded to nearest, halves up."""
    return (values + (1 << (bits - 1))) >> bits
