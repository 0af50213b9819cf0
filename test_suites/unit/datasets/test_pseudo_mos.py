"""The pseudo MOS against an independent computation of GMSD."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.datasets.pseudo_mos import gradient_deviation, pseudo_mos


def picture(rows: int = 96, columns: int = 128, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = scipy.ndimage.gaussian_filter(random.normal(size=(rows, columns, 3)), (8, 8, 0))
    edges = scipy.ndimage.gaussian_filter(random.normal(size=(rows, columns)), 5) > 0
    return np.clip(110 + 12 * coarse / coarse.std() + 70 * edges[..., None], 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    smooth = scipy.ndimage.gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0))
    return np.round(smooth).astype(np.uint8)


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    grain = np.random.default_rng(7).normal(size=(*pixels.shape[:2], 1)) * sigma
    return np.clip(np.round(pixels + grain), 0, 255).astype(np.uint8)


def gmsd(reference: np.ndarray, distorted: np.ndarray) -> float:
    """GMSD as published, on the scale of 0 to 255: filters as convolutions, subsampling as every second pixel."""
    prewitt = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]]) / 3
    magnitudes = []
    for image in (reference, distorted):
        luma = image[..., 0] * 0.299 + image[..., 1] * 0.587 + image[..., 2] * 0.114
        # The mean over a pixel and its right and lower neighbours, taken at every second pixel.
        mean = scipy.ndimage.convolve(luma, np.full((2, 2), 0.25))
        plane = mean[: luma.shape[0] // 2 * 2 : 2, : luma.shape[1] // 2 * 2 : 2]
        across = scipy.ndimage.convolve(plane, prewitt, mode="nearest")
        down = scipy.ndimage.convolve(plane, prewitt.T, mode="nearest")
        magnitudes.append(np.sqrt(across**2 + down**2))
    first, second = magnitudes
    return float(((2 * first * second + 170) / (first**2 + second**2 + 170)).std())


@pytest.mark.parametrize("shape", [(96, 128), (95, 128), (96, 127), (33, 57), (8, 8)])
@pytest.mark.parametrize("damage", [lambda p: blurred(p, 2), lambda p: noisy(p, 15), lambda p: p // 2 + 40])
def test_the_deviation_is_the_published_one(shape: tuple[int, int], damage: object) -> None:
    reference = picture(*shape)
    distorted = damage(reference)  # type: ignore[operator]
    expected = gmsd(reference, distorted)
    assert expected > 0.01
    assert gradient_deviation(reference, distorted) == pytest.approx(expected, rel=1e-9)


def test_the_score_is_the_deviation_on_a_line_from_100() -> None:
    reference = picture()
    distorted = blurred(reference, 1.5)
    assert pseudo_mos(reference, distorted) == round(100 - gmsd(reference, distorted) / 0.35 * 100, 2)


@given(seed=st.integers(0, 1000), rows=st.integers(8, 40), columns=st.integers(8, 40))
@settings(deadline=None, max_examples=25)
def test_an_untouched_image_scores_exactly_100(seed: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    assert pseudo_mos(image, image.copy()) == 100


@given(first=st.integers(0, 1000), second=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_scores_stay_in_range_and_agree_in_both_directions(first: int, second: int) -> None:
    one, other = (np.random.default_rng(s).integers(0, 256, (24, 24, 3)).astype(np.uint8) for s in (first, second))
    assert 0 <= pseudo_mos(one, other) <= 100
    assert pseudo_mos(one, other) == pseudo_mos(other, one)


def test_the_score_never_falls_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqa_robustness.datasets.pseudo_mos._WORST_DEVIATION", 0.01)
    reference = picture()
    assert pseudo_mos(reference, blurred(reference, 4)) == 0


@pytest.mark.parametrize("damage", [blurred, noisy])
def test_more_blur_and_more_noise_score_lower(damage: object) -> None:
    reference = picture()
    falling = [pseudo_mos(reference, damage(reference, sigma)) for sigma in (1, 3, 9, 27)]  # type: ignore[operator]
    assert all(later < earlier - 1 for earlier, later in pairwise(falling)), falling
    assert falling[0] < 100


def test_a_change_of_brightness_alone_costs_nothing() -> None:
    reference = np.clip(picture(), 20, 200).astype(np.uint8)
    assert pseudo_mos(reference, (reference + 30).astype(np.uint8)) > 99.99


def test_scores_are_rounded_to_a_hundredth() -> None:
    reference = picture()
    score = pseudo_mos(reference, noisy(reference, 9))
    assert score == round(score, 2)
    assert isinstance(score, float)
