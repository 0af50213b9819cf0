"""Gaussian blur: as scipy and torchvision compute it, with the published widths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.errors import ConfigurationError

KERNELS = GaussianBlur.parameter_values


def scipy_blurred(images: Tensor, size: int, sigma: float) -> np.ndarray:
    places = np.arange(size) - size // 2
    weights = np.exp(-(places**2) / (2 * sigma**2))
    result = images.numpy().astype(np.float64)
    for axis in (2, 3):
        result = scipy.ndimage.correlate1d(result, weights / weights.sum(), axis=axis, mode="mirror")
    return result


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.8), (5, 1.1), (7, 1.4), (9, 1.7), (11, 2.0)])
def test_it_is_the_mean_with_gaussian_weights_of_the_published_width(grain: Tensor, size: int, sigma: float) -> None:
    defense = GaussianBlur(kernel_size=size)
    assert defense.sigma == pytest.approx(sigma)
    assert np.abs(defense.purify(grain).numpy() - scipy_blurred(grain, size, sigma)).max() < 1e-6


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("size", KERNELS)
def test_it_is_what_torchvision_computes(grain: Tensor, size: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    defense = GaussianBlur(kernel_size=size)
    expected = functional.gaussian_blur(grain, [size, size], [defense.sigma, defense.sigma])
    assert torch.allclose(defense.purify(grain), expected, atol=2e-6)


@given(level=st.floats(0, 1, width=32), size=st.sampled_from(KERNELS))
def test_an_even_surface_stays_what_it_is_and_within_range(level: float, size: int) -> None:
    images = torch.full((1, 3, 12, 13), level)
    purified = GaussianBlur(kernel_size=size).purify(images)
    assert torch.allclose(purified, images, atol=1e-6)
    assert 0 <= float(purified.min()) <= float(purified.max()) <= 1


def test_a_wider_window_leaves_less_detail(grain: Tensor) -> None:
    spreads = [float(GaussianBlur(kernel_size=size).purify(grain).std()) for size in KERNELS]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] < float(grain.std())


def test_white_pixels_have_a_gradient() -> None:
    leaf = torch.ones(1, 3, 16, 16, requires_grad=True)
    GaussianBlur(kernel_size=5).purify(leaf).sum().backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad[..., 4:-4, 4:-4], torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize("size", [3, 7])
def test_its_gradient_is_that_of_finite_differences(size: int) -> None:
    images = torch.from_numpy(np.random.RandomState(1).uniform(0.2, 0.8, (1, 3, 6, 7))).requires_grad_(True)
    assert torch.autograd.gradcheck(GaussianBlur(kernel_size=size).purify, (images,))


@pytest.mark.parametrize("size", [0, 2, 8, -1])
def test_an_even_kernel_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="odd"):
        GaussianBlur(kernel_size=size)


def test_an_image_that_the_mirrored_window_does_not_fit_on_is_refused() -> None:
    assert GaussianBlur(kernel_size=11).purify(torch.rand(1, 3, 6, 6)).shape == (1, 3, 6, 6)
    with pytest.raises(ConfigurationError, match=r"kernel of 11 pixels takes images from 6 × 6 pixels, got 5 × 40"):
        GaussianBlur(kernel_size=11).purify(torch.rand(1, 3, 5, 40))
