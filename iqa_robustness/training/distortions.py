"""Synthetic distortions of photographs in graded severities, for training metrics."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image
from scipy import ndimage

Draw = np.random.Generator
Damage = Callable[[np.ndarray, Draw], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """One kind of damage.

    name: lower case, words joined by hyphens.
    parameters: from barely visible to severe; distances are in pixels of the image that is given.
    function: (H, W, 3) uint8, one parameter and a generator of random numbers to (H, W, 3) uint8.
    """

    name: str
    parameters: tuple[float, ...]
    function: Callable[[np.ndarray, float, Draw], np.ndarray]

    def __call__(self, pixels: np.ndarray, severity: float, draw: Draw) -> np.ndarray:
        """Distort (H, W, 3) uint8 pixels.

        Args:
            pixels: H and W at least 16.
            severity: 0 (first parameter) to `len(parameters) - 1` (last); between two, interpolated in logarithm.
            draw: the source of randomness; deterministic distortions do not touch it.
        """
        steps = np.arange(len(self.parameters))
        parameter = float(np.exp(np.interp(severity, steps, np.log(self.parameters))))
        return self.function(pixels, parameter, draw)


def gaussian_blur(pixels: np.ndarray, sigma: float, _: Draw) -> np.ndarray:
    """Isotropic Gaussian of `sigma` pixels."""
    return _rounded(ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="nearest"))


def motion_blur(pixels: np.ndarray, length: float, draw: Draw) -> np.ndarray:
    """A line of `length` pixels in a random direction."""
    angle = draw.uniform(0, np.pi)
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in np.linspace(-length / 2, length / 2, 8 * reach + 1):
        # Bilinear splatting, so that the direction is continuous.
        row, column = reach + step * np.sin(angle), reach + step * np.cos(angle)
        low_row, low_column = min(int(row), 2 * reach - 1), min(int(column), 2 * reach - 1)
        below, right = row - low_row, column - low_column
        kernel[low_row : low_row + 2, low_column : low_column + 2] += np.outer([1 - below, below], [1 - right, right])
    kernel /= kernel.sum()
    return _rounded(ndimage.convolve(pixels.astype(np.float32), kernel[:, :, None], mode="nearest"))


def white_noise(pixels: np.ndarray, sigma: float, draw: Draw) -> np.ndarray:
    """Independent Gaussian noise of standard deviation `sigma` (of 255) on every channel."""
    return _rounded(pixels + sigma * draw.standard_normal(pixels.shape, np.float32))


def luma_noise(pixels: np.ndarray, sigma: float, draw: Draw) -> np.ndarray:
    """Gaussian noise of standard deviation `sigma` (of 255), the same on all channels."""
    return _rounded(pixels + sigma * draw.standard_normal((*pixels.shape[:2], 1), np.float32))


def speckle_noise(pixels: np.ndarray, sigma: float, draw: Draw) -> np.ndarray:
    """Gaussian noise in proportion to the value: `sigma` is its share."""
    return _rounded(pixels * (1 + sigma * draw.standard_normal(pixels.shape, np.float32)))


def impulse_noise(pixels: np.ndarray, share: float, draw: Draw) -> np.ndarray:
    """This share of all values becomes 0 or 255."""
    chance = draw.random(pixels.shape, np.float32)
    return np.where(chance < share / 2, 0, np.where(chance > 1 - share / 2, 255, pixels)).astype(np.uint8)


def jpeg(pixels: np.ndarray, coarseness: float, _: Draw) -> np.ndarray:
    """JPEG (4:2:0) at quality 100 / `coarseness`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=max(1, round(100 / coarseness)))
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))


def contrast_loss(pixels: np.ndarray, divisor: float, _: Draw) -> np.ndarray:
    """Values are drawn towards the image's mean by this divisor."""
    values = pixels.astype(np.float32)
    mean = values.mean()
    return _rounded(mean + (values - mean) / divisor)


def downscale_bicubic(pixels: np.ndarray, factor: float, _: Draw) -> np.ndarray:
    """Smaller by `factor` (bicubic, anti-aliased) and back (bicubic)."""
    return _down_and_up(pixels, factor, Image.Resampling.BICUBIC, Image.Resampling.BICUBIC)


def downscale_bilinear(pixels: np.ndarray, factor: float, _: Draw) -> np.ndarray:
    """Smaller by `factor` (box) and back (bilinear)."""
    return _down_and_up(pixels, factor, Image.Resampling.BOX, Image.Resampling.BILINEAR)


def pixelate(pixels: np.ndarray, factor: float, _: Draw) -> np.ndarray:
    """Smaller by `factor` (bicubic, anti-aliased) and back by repeating pixels."""
    return _down_and_up(pixels, factor, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)


def color_quantization(pixels: np.ndarray, step: float, _: Draw) -> np.ndarray:
    """Every channel is rounded to multiples of `step`."""
    return _rounded(np.round(pixels / step) * step)


def oversharpening(pixels: np.ndarray, amount: float, _: Draw) -> np.ndarray:
    """`amount` times what a Gaussian of 1.5 pixels removes is added: halos and amplified noise."""
    values = pixels.astype(np.float32)
    return _rounded(values + amount * (values - ndimage.gaussian_filter(values, (1.5, 1.5, 0), mode="nearest")))


def blur_then_jpeg(pixels: np.ndarray, strength: float, draw: Draw) -> np.ndarray:
    """Gaussian blur of `strength` pixels, then JPEG of quality 35 / `strength`."""
    return jpeg(gaussian_blur(pixels, strength, draw), strength * 100 / 35, draw)


def noise_then_jpeg(pixels: np.ndarray, strength: float, draw: Draw) -> np.ndarray:
    """White noise of 10 × `strength` (of 255), then JPEG of quality 40 / `strength`."""
    return jpeg(white_noise(pixels, 10 * strength, draw), strength * 2.5, draw)


def denoising_artefacts(pixels: np.ndarray, strength: float, draw: Draw) -> np.ndarray:
    """White noise of 12 × `strength` (of 255), then a blur of 0.8 × `strength` pixels: blotches on a soft image."""
    return gaussian_blur(white_noise(pixels, 12 * strength, draw), 0.8 * strength, draw)


DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {
        distortion.name: distortion
        for distortion in (
            Distortion(name="gaussian-blur", parameters=(0.5, 0.8, 1.3, 2.0, 3.5), function=gaussian_blur),
            Distortion(name="motion-blur", parameters=(2, 3.5, 6, 10, 16), function=motion_blur),
            Distortion(name="white-noise", parameters=(4, 8, 15, 27, 50), function=white_noise),
            Distortion(name="luma-noise", parameters=(4, 8, 15, 27, 50), function=luma_noise),
            Distortion(name="speckle-noise", parameters=(0.04, 0.08, 0.15, 0.3, 0.5), function=speckle_noise),
            Distortion(name="impulse-noise", parameters=(0.002, 0.006, 0.02, 0.05, 0.15), function=impulse_noise),
            Distortion(name="jpeg", parameters=(1.5, 2.5, 4.5, 9, 18), function=jpeg),
            Distortion(name="contrast-loss", parameters=(1.3, 1.7, 2.4, 3.5, 6), function=contrast_loss),
            Distortion(name="downscale-bicubic", parameters=(1.3, 2, 3, 4, 8), function=downscale_bicubic),
            Distortion(name="downscale-bilinear", parameters=(1.3, 2, 3, 4, 8), function=downscale_bilinear),
            Distortion(name="pixelate", parameters=(1.3, 2, 3, 4, 8), function=pixelate),
            Distortion(name="color-quantization", parameters=(10, 18, 32, 52, 80), function=color_quantization),
            Distortion(name="oversharpening", parameters=(0.6, 1.2, 2.4, 4.5, 8), function=oversharpening),
            Distortion(name="blur-jpeg", parameters=(0.5, 0.8, 1.2, 2, 3.2), function=blur_then_jpeg),
            Distortion(name="noise-jpeg", parameters=(0.5, 0.9, 1.6, 2.8, 5), function=noise_then_jpeg),
            Distortion(name="denoising", parameters=(0.6, 1, 1.6, 2.5, 4), function=denoising_artefacts),
        )
    }
)


def damage(name: str, parameter: float) -> Damage:
    """One of `DISTORTIONS` with its parameter, and not a severity, given: (H, W, 3) uint8 and a generator to uint8."""
    return lambda pixels, draw: DISTORTIONS[name].function(pixels, parameter, draw)


def _rounded(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _down_and_up(pixels: np.ndarray, factor: float, down: Image.Resampling, up: Image.Resampling) -> np.ndarray:
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((max(1, round(width / factor)), max(1, round(height / factor))), down)
    return np.array(small.resize((width, height), up))
