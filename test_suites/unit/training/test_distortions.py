"""The graded distortions against references written another way, and what all of them promise."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iqa_robustness.training.distortions import DISTORTIONS, Distortion

DETERMINISTIC = (
    "gaussian-blur",
    "jpeg",
    "contrast-loss",
    "downscale-bicubic",
    "downscale-bilinear",
    "pixelate",
    "color-quantization",
    "oversharpening",
    "blur-jpeg",
)
RANDOM = tuple(sorted(set(DISTORTIONS) - set(DETERMINISTIC)))

Picture = Callable[..., np.ndarray]


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def function(name: str, pixels: np.ndarray, parameter: float, seed: int = 0) -> np.ndarray:
    return DISTORTIONS[name].function(pixels, parameter, draw(seed))


def squared_error(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.square(first.astype(float) - second.astype(float)).mean())


def flat(value: int, rows: int = 128, columns: int = 128) -> np.ndarray:
    return np.full((rows, columns, 3), value, np.uint8)


# --- what all of them promise ---------------------------------------------------------------------------------------


def test_each_is_found_by_its_own_name_in_five_rising_severities() -> None:
    assert len(DISTORTIONS) >= 16
    for name, distortion in DISTORTIONS.items():
        assert distortion.name == name
        assert re.fullmatch("[a-z]+(-[a-z]+)*", name)
        assert len(distortion.parameters) == 5
        assert all(0 < lower < higher for lower, higher in pairwise(distortion.parameters))


@pytest.mark.parametrize("name", DISTORTIONS)
@settings(max_examples=8)
@given(
    rows=st.integers(16, 40),
    columns=st.integers(16, 40),
    span=st.tuples(st.integers(0, 255), st.integers(0, 255)).map(sorted),
    severity=st.floats(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_picture_keeps_its_shape_and_is_not_written_to(
    name: str, rows: int, columns: int, span: list[int], severity: float, seed: int
) -> None:
    pixels = draw(seed).integers(span[0], span[1] + 1, (rows, columns, 3)).astype(np.uint8)
    before = pixels.copy()
    pixels.setflags(write=False)
    distorted = DISTORTIONS[name](pixels, severity, draw(seed))
    assert distorted.shape == pixels.shape
    assert distorted.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert np.array_equal(distorted, DISTORTIONS[name](pixels, severity, draw(seed)))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_ones_do_not_touch_the_source_of_randomness(name: str, picture: Picture) -> None:
    source = draw()
    DISTORTIONS[name](picture(), 3, source)
    assert source.bit_generator.state == draw().bit_generator.state


@pytest.mark.parametrize("name", RANDOM)
def test_random_ones_follow_the_source_of_randomness(name: str, picture: Picture) -> None:
    first, second = (DISTORTIONS[name](picture(), 3, draw(seed)) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_higher_severity_is_a_larger_error(name: str, picture: Picture) -> None:
    pixels = picture(96, 128)
    errors = [squared_error(DISTORTIONS[name](pixels, severity, draw()), pixels) for severity in np.arange(0, 4.5, 0.5)]
    assert errors[0] > 0
    whole = errors[::2]
    assert all(lower < higher for lower, higher in pairwise(whole)), whole
    if name not in ("pixelate", "color-quantization", "downscale-bicubic", "downscale-bilinear"):
        # Between two levels too; a grid of pixels or values may fall well or badly on the picture.
        assert all(lower < higher for lower, higher in pairwise(errors)), errors


def test_between_two_severities_the_parameter_is_interpolated_in_logarithm(picture: Picture) -> None:
    met: list[float] = []

    def note(pixels: np.ndarray, parameter: float, _: np.random.Generator) -> np.ndarray:
        met.append(parameter)
        return pixels

    distortion = Distortion(name="note", parameters=(2.0, 8.0, 24.0), function=note)
    for severity in (0, 0.5, 1, 1.5, 2):
        distortion(picture(), severity, draw())
    assert met == pytest.approx([2, 4, 8, np.sqrt(8 * 24), 24], rel=1e-12)


# --- blurs ----------------------------------------------------------------------------------------------------------


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian cut at four deviations, row by row and column by column, edges repeated."""
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    values = np.pad(pixels.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for axis in (0, 1):
        values = np.apply_along_axis(np.convolve, axis, values, kernel, mode="valid")
    return values


@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.5])
def test_gaussian_blur_is_a_gaussian(sigma: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    difference = function("gaussian-blur", pixels, sigma) - blurred(pixels, sigma)
    assert np.abs(difference).max() < 0.501
    assert not np.array_equal(function("gaussian-blur", pixels, sigma), pixels)


@pytest.mark.parametrize("amount", [0.6, 2.4, 8.0])
def test_oversharpening_adds_what_a_blur_takes_away(amount: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    expected = np.clip(pixels + amount * (pixels - blurred(pixels, 1.5)), 0, 255)
    assert np.abs(function("oversharpening", pixels, amount) - expected).max() < 0.501


@pytest.mark.parametrize("length", [6.0, 10.0, 16.0])
@pytest.mark.parametrize("seed", range(4))
def test_motion_blur_spreads_a_point_along_a_line(length: float, seed: int) -> None:
    pixels = flat(0, 41, 41)
    pixels[19:22, 19:22] = 255
    spread = function("motion-blur", pixels, length, seed)[..., 0].astype(float)
    share = spread / spread.sum()
    rows, columns = (grid - 20 for grid in np.mgrid[:41, :41])
    assert (share * rows).sum() == pytest.approx(0, abs=0.05)
    assert (share * columns).sum() == pytest.approx(0, abs=0.05)
    angle = draw(seed).uniform(0, np.pi)
    along, across = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
    # A line has variance length² / 12, eight points a pixel a little more; a square of 3 pixels has 2/3; splatting on
    # the grid adds at most 1/4 each way.
    dots = length**2 / 12 * (1 + 1 / (4 * np.ceil(length / 2)))
    assert length**2 / 12 < (share * along**2).sum() - 2 / 3 < dots + 1 / 4
    assert (share * across**2).sum() - 2 / 3 < 1 / 4
    # What is lost is lost to rounding alone.
    assert spread.sum() == pytest.approx(9 * 255, rel=0.02)


@pytest.mark.parametrize("direction", ["across", "down"])
def test_motion_blur_along_an_axis_is_a_row_of_dots(direction: str) -> None:
    class Straight(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return low if direction == "across" else (low + high) / 2

    pixels = flat(0, 11, 11)
    pixels[5, 5] = 255
    spread = DISTORTIONS["motion-blur"].function(pixels, 4.0, Straight(np.random.PCG64()))[..., 0]
    line = spread[5] if direction == "across" else spread[:, 5]
    # 17 dots from −2 to 2, each shared between the two pixels about it.
    dots = np.arange(-8, 9) / 4
    shares = [np.clip(1 - np.abs(dots - place), 0, None).sum() / 17 for place in range(-5, 6)]
    assert line.tolist() == np.rint(255 * np.array(shares)).tolist()
    assert int(spread.sum(dtype=int)) == int(line.sum(dtype=int))


@pytest.mark.parametrize(
    "name", ["gaussian-blur", "motion-blur", "oversharpening", "contrast-loss", "downscale-bicubic"]
)
@pytest.mark.parametrize("value", [0, 93, 255])
def test_a_flat_picture_stays_flat(name: str, value: int) -> None:
    pixels = flat(value, 24, 32)
    for severity in (0, 2, 4):
        assert np.array_equal(DISTORTIONS[name](pixels, severity, draw()), pixels)


# --- noises ---------------------------------------------------------------------------------------------------------


def check_normal(noise: np.ndarray, deviation: float) -> None:
    """Mean 0 and this deviation, up to four standard errors; rounding adds a twelfth to the variance."""
    spread = np.hypot(deviation, 12**-0.5)
    assert abs(noise.mean()) < 4 * spread / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * noise.size))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("sigma", [4.0, 25.0])
def test_white_noise_is_normal_and_independent_in_every_channel(sigma: float) -> None:
    noise = function("white-noise", flat(128), sigma).astype(float) - 128
    check_normal(noise, sigma)
    assert abs(correlation(noise[..., 0], noise[..., 2])) < 4 / 128
    assert abs(correlation(noise[1:], noise[:-1])) < 4 / np.sqrt(3) / 127


def test_luma_noise_is_normal_and_the_same_in_every_channel() -> None:
    noise = function("luma-noise", flat(128), 15.0).astype(float) - 128
    check_normal(noise[..., 0], 15.0)
    assert np.array_equal(noise[..., 0], noise[..., 1])
    assert np.array_equal(noise[..., 0], noise[..., 2])


@pytest.mark.parametrize("value", [0, 40, 120])
def test_speckle_noise_is_in_proportion_to_the_value(value: int) -> None:
    noise = function("speckle-noise", flat(value), 0.15).astype(float) - value
    if value:
        check_normal(noise, 0.15 * value)
    else:
        assert not noise.any()


@pytest.mark.parametrize("share", [0.006, 0.15])
def test_impulse_noise_turns_its_share_black_and_white(share: float) -> None:
    noisy = function("impulse-noise", flat(100), share)
    error = 4 * np.sqrt(share / 2 / noisy.size)
    assert (noisy == 0).mean() == pytest.approx(share / 2, abs=error)
    assert (noisy == 255).mean() == pytest.approx(share / 2, abs=error)
    assert set(np.unique(noisy)) == {0, 100, 255}


@pytest.mark.parametrize("name", ["white-noise", "luma-noise", "speckle-noise"])
def test_noise_beyond_white_does_not_wrap_round(name: str) -> None:
    assert DISTORTIONS[name](flat(250), 1, draw()).min() > 128


# --- coding, contrast and quantisation ------------------------------------------------------------------------------


def coded(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


@pytest.mark.parametrize(("coarseness", "quality"), [(1.5, 67), (2.5, 40), (10, 10), (18, 6), (1000, 1)])
def test_jpeg_has_the_documented_quality(coarseness: float, quality: int, picture: Picture) -> None:
    pixels = picture(40, 56)
    assert np.array_equal(function("jpeg", pixels, coarseness), coded(pixels, quality))


@pytest.mark.parametrize("divisor", [1.3, 6.0])
def test_contrast_loss_divides_the_distance_to_the_mean(divisor: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    mean = pixels.mean()
    expected = mean + (pixels - mean) / divisor
    assert np.abs(function("contrast-loss", pixels, divisor) - expected).max() < 0.501


@pytest.mark.parametrize("step", [10.0, 32.0, 80.0])
def test_color_quantization_leaves_multiples_of_its_step(step: float) -> None:
    pixels = draw().integers(0, 256, (32, 32, 3)).astype(np.uint8)
    coarse = function("color-quantization", pixels, step)
    levels = {min(255, round(number * step)) for number in range(int(255 / step) + 2)}
    assert set(np.unique(coarse).tolist()) <= levels
    assert np.abs(coarse.astype(float) - pixels).max() <= step / 2


# --- scaling --------------------------------------------------------------------------------------------------------


def box(distance: np.ndarray) -> np.ndarray:
    return ((distance > -0.5) & (distance <= 0.5)).astype(float)


def triangle(distance: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(distance), 0, None)


def cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = −1/2."""
    far = np.abs(distance)
    near_part = 1.5 * far**3 - 2.5 * far**2 + 1
    far_part = -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
    return np.where(far < 1, near_part, np.where(far < 2, far_part, 0))


def scaled(pixels: np.ndarray, size: tuple[int, int], kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Each axis by a matrix: the kernel about each new pixel's centre, as wide as the new pixel when shrinking.

    As Pillow does it: columns before rows, 8 bits between, weights in 22 bits.
    """
    values = pixels.astype(np.int64)
    for axis in (1, 0):
        old, new = pixels.shape[axis], size[axis]
        widen = max(1.0, old / new)
        centres = (np.arange(new) + 0.5) * old / new
        weights = kernel((np.arange(old) + 0.5 - centres[:, None]) / widen)
        weights /= weights.sum(axis=1, keepdims=True)
        fixed = np.rint(weights * 2**22).astype(np.int64)
        values = np.moveaxis(np.tensordot(fixed, values, axes=(1, axis)), 0, axis)
        values = np.clip((values + 2**21) >> 22, 0, 255)
    return values


@pytest.mark.parametrize(
    ("name", "down", "up"),
    [
        pytest.param("downscale-bicubic", cubic, cubic, id="bicubic"),
        pytest.param("downscale-bilinear", box, triangle, id="bilinear"),
        pytest.param("pixelate", cubic, None, id="pixelate"),
    ],
)
@pytest.mark.parametrize("factor", [1.3, 2.0, 3.0, 8.0])
def test_scaling_is_convolution_with_the_documented_kernels(
    name: str, down: Callable[..., np.ndarray], up: Callable[..., np.ndarray] | None, factor: float, picture: Picture
) -> None:
    pixels = picture(48, 72, texture=3)
    size = (round(48 / factor), round(72 / factor))
    small = scaled(pixels, size, down)
    if up is None:
        rows, columns = ((np.arange(old) + 0.5) * new // old for old, new in zip((48, 72), size, strict=True))
        expected = small[rows.astype(int)][:, columns.astype(int)]
    else:
        expected = scaled(small, (48, 72), up)
    assert np.array_equal(function(name, pixels, factor), expected)


# --- compositions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.5, 1.2, 3.2])
def test_blur_jpeg_is_a_blur_and_then_jpeg(strength: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    expected = coded(np.rint(blurred(pixels, strength)).astype(np.uint8), round(35 / strength))
    assert squared_error(function("blur-jpeg", pixels, strength), expected) < 0.1


@pytest.mark.parametrize("strength", [0.5, 1.6, 5.0])
def test_noise_jpeg_is_noise_and_then_jpeg(strength: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    noisy = function("white-noise", pixels, 10 * strength, seed=3)
    assert np.array_equal(function("noise-jpeg", pixels, strength, seed=3), coded(noisy, round(40 / strength)))


@pytest.mark.parametrize("strength", [0.6, 2.5])
def test_denoising_is_noise_and_then_a_blur(strength: float, picture: Picture) -> None:
    pixels = picture(40, 56)
    noisy = function("white-noise", pixels, 12 * strength, seed=3)
    difference = function("denoising", pixels, strength, seed=3) - blurred(noisy, 0.8 * strength)
    assert np.abs(difference).max() < 0.501
