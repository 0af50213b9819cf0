"""The integer distortions against floating-point references, and the promise that no floating point is in them."""

from __future__ import annotations

import ast
import inspect
from fractions import Fraction

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.datasets import distortion
from iqa_robustness.datasets.distortion import Distortion


def picture(rows: int = 64, columns: int = 96, seed: int = 0) -> np.ndarray:
    """Smooth shapes with fine texture, away from black and white."""
    random = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(random.normal(size=(rows, columns, 3)), (6, 6, 0))
    texture = random.normal(size=(rows, columns, 1))
    return np.clip(128 + 90 * smooth / np.abs(smooth).max() + 6 * texture, 0, 255).astype(np.uint8)


def near_half(values: np.ndarray) -> np.ndarray:
    """Where rounding is a toss between a floating-point and a fixed-point transform."""
    return np.abs(values - np.floor(values) - 0.5) < 1e-3


@st.composite
def distortions(draw: st.DrawFn) -> Distortion:
    return Distortion(
        contrast=draw(st.integers(0, 256)),
        blur=draw(st.integers(0, 3)),
        noise=draw(st.integers(0, 80)),
        coding=draw(st.integers(0, 200)),
    )


@st.composite
def photographs(draw: st.DrawFn) -> np.ndarray:
    rows, columns = draw(st.integers(1, 3)) * 8, draw(st.integers(1, 3)) * 8
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random.integers(low, high + 1, size=(rows, columns, 3)).astype(np.uint8)


@given(pixels=photographs(), what=distortions(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_any_distortion_of_any_photograph_is_a_repeatable_photograph(
    pixels: np.ndarray, what: Distortion, seed: int
) -> None:
    before = pixels.copy()
    distorted = what.apply(pixels, seed=seed)
    assert distorted.shape == pixels.shape
    assert distorted.dtype == np.uint8
    assert distorted.flags["C_CONTIGUOUS"]
    assert np.array_equal(distorted, what.apply(pixels, seed=seed))
    assert np.array_equal(pixels, before), "the input was written to"


@given(pixels=photographs(), what=distortions())
@settings(deadline=None, max_examples=40)
def test_a_grey_photograph_stays_grey(pixels: np.ndarray, what: Distortion) -> None:
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    distorted = what.apply(grey, seed=3)
    assert np.array_equal(distorted[..., 0], distorted[..., 1])
    assert np.array_equal(distorted[..., 0], distorted[..., 2])


def test_without_settings_nothing_changes() -> None:
    pixels = picture()
    untouched = Distortion().apply(pixels, seed=1)
    assert np.array_equal(untouched, pixels)
    assert untouched is not pixels


@pytest.mark.parametrize("value", [0, 1, 127, 200, 255])
def test_blur_and_contrast_leave_a_flat_image_alone(value: int) -> None:
    flat = np.full((16, 24, 3), value, dtype=np.uint8)
    assert np.array_equal(Distortion(blur=9, contrast=40).apply(flat, seed=1), flat)


@pytest.mark.parametrize("passes", [1, 2, 7, 36])
def test_blur_is_the_binomial_kernel_to_half_a_level(passes: int) -> None:
    pixels = picture()
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    expected = pixels.astype(np.float64)
    for _ in range(passes):
        for axis in (0, 1):
            expected = scipy.ndimage.convolve1d(expected, kernel, axis=axis, mode="nearest")
    difference = Distortion(blur=passes).apply(pixels, seed=1) - expected
    # Half a level of final rounding, and what the passes' own rounding adds.
    assert np.abs(difference).max() < 0.55
    assert abs(difference.mean()) < 0.02


@pytest.mark.parametrize("kept", [0, 1, 100, 255])
def test_contrast_pulls_every_value_to_the_mean(kept: int) -> None:
    pixels = picture()
    pivot = int(pixels.astype(int).sum()) // pixels.size
    faded = Distortion(contrast=kept).apply(pixels, seed=1)
    for value in np.unique(pixels)[::7]:
        exact = pivot + Fraction(int(value) - pivot) * kept / 256
        assert all(abs(int(seen) - exact) <= Fraction(1, 2) for seen in np.unique(faded[pixels == value]))
    assert int(np.ptp(faded)) <= int(np.ptp(pixels)) * kept / 256 + 1


@pytest.mark.parametrize("amplitude", [1, 6, 20])
def test_grain_has_the_promised_spread_and_no_bias(amplitude: int) -> None:
    grey = np.full((384, 512, 3), 128, dtype=np.uint8)
    grain = Distortion(noise=amplitude).apply(grey, seed=5)[..., 0].astype(int) - 128
    deviation = np.sqrt(4 * amplitude * (amplitude + 1) / 3)
    count = grain.size
    assert abs(grain.mean()) < 4 * deviation / np.sqrt(count)
    assert grain.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(grain).max() <= 4 * amplitude
    neighbours = np.corrcoef(grain[:, 1:].ravel(), grain[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(count)


def test_grain_depends_on_the_seed_and_clips() -> None:
    white = np.full((32, 32, 3), 255, dtype=np.uint8)
    first, second = (Distortion(noise=10).apply(white, seed=seed) for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert first.max() == 255, "what goes above white must not wrap round to black"
    assert first.min() >= 255 - 40


def test_dct_matrix_is_the_orthonormal_dct() -> None:
    matrix = distortion._dct_matrix() / 2**20
    assert np.abs(matrix - scipy.fft.dct(np.eye(8), axis=0, norm="ortho")).max() < 2**-20
    assert np.abs(matrix @ matrix.T - np.eye(8)).max() < 1e-5


@pytest.mark.parametrize("coarseness", [2, 17, 60])
def test_coding_is_block_dct_quantisation(coarseness: int) -> None:
    pixels = picture()
    steps = np.maximum(distortion._QUANTISER * coarseness // 4, 1)
    coded = Distortion(coding=coarseness).apply(pixels, seed=1)
    compared = 0
    for top in range(0, pixels.shape[0], 8):
        for left in range(0, pixels.shape[1], 8):
            for channel in range(3):
                block = np.s_[top : top + 8, left : left + 8, channel]
                ratio = scipy.fft.dctn(pixels[block].astype(float) - 128, norm="ortho") / steps
                if near_half(ratio).any():
                    continue
                expected = scipy.fft.idctn(np.round(ratio) * steps, norm="ortho") + 128
                difference = np.abs(coded[block] - np.clip(np.round(expected), 0, 255))
                assert difference[~near_half(expected)].max(initial=0) == 0
                assert difference.max() <= 1
                compared += 1
    assert compared > 0.5 * pixels.size / 64


@pytest.mark.parametrize(
    "family", [{"blur": (1, 3, 9)}, {"noise": (4, 12, 30)}, {"coding": (10, 40, 120)}, {"contrast": (200, 120, 50)}]
)
def test_more_strength_is_more_distortion(family: dict[str, tuple[int, ...]]) -> None:
    ((name, strengths),) = family.items()
    pixels = picture().astype(float)
    errors = [
        np.square(Distortion(**{name: strength}).apply(pixels.astype(np.uint8), seed=1) - pixels).mean()
        for strength in strengths
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_the_module_holds_no_floating_point() -> None:
    tree = ast.parse(inspect.getsource(distortion))
    floats = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)]
    divisions = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Div)]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not floats
    assert not divisions
    assert not names & {"float16", "float32", "float64", "mean", "round", "cos", "sqrt", "normal"}
