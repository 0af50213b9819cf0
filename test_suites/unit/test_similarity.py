"""Similarities against scikit-image and closed forms; their gradients against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from iqa_robustness import similarity

SIZES = st.tuples(st.integers(7, 20), st.integers(7, 20))
SEEDS = st.integers(0, 2**31)


def images(seed: int, size: tuple[int, int] = (12, 9), count: int = 2) -> Tensor:
    """Smooth gradients with some noise, as photographs have both."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, *size, generator=generator)
    ramp = torch.linspace(0, 1, size[1]).expand(count, 3, *size)
    return (0.7 * ramp + 0.3 * noise).clamp(0, 1)


def near(seed: int, other: Tensor, step: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (other + step * torch.randn(other.shape, generator=generator)).clamp(0, 1)


def as_numpy(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).double().numpy()


# --- SSIM -----------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, size=SIZES, step=st.sampled_from([1 / 255, 8 / 255, 0.3]))
@settings(max_examples=40)
def test_ssim_is_that_of_skimage(seed: int, size: tuple[int, int], step: float) -> None:
    first = images(seed, size)
    second = near(seed + 1, first, step)
    expected = [
        structural_similarity(as_numpy(a), as_numpy(b), channel_axis=2, data_range=1)
        for a, b in zip(first, second, strict=True)
    ]
    assert similarity.ssim(first, second).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_ssim_of_flat_images_is_its_luminance_term_alone(level: float) -> None:
    # In flat regions the variance is a difference of equal numbers; float32 loses it.
    first, second = torch.full((1, 3, 16, 16), level), torch.full((1, 3, 16, 16), 0.4)
    a, b = float(first[0, 0, 0, 0]), float(second[0, 0, 0, 0])
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert float(similarity.ssim(first, second)) == pytest.approx(expected, abs=1e-6)


@given(seed=SEEDS)
@settings(max_examples=20)
def test_ssim_is_symmetric_bounded_and_one_for_equal_images(seed: int) -> None:
    first, second = images(seed), images(seed + 1)
    assert similarity.ssim(first, first).tolist() == pytest.approx([1, 1], abs=1e-7)
    assert similarity.ssim(first, second).tolist() == pytest.approx(similarity.ssim(second, first).tolist(), abs=1e-7)
    assert bool((similarity.ssim(first, second).abs() <= 1).all())


def test_ssim_needs_a_whole_window() -> None:
    small = torch.rand(1, 3, 6, 9)
    with pytest.raises(RuntimeError):
        similarity.ssim(small, small)


# --- PSNR -----------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, size=SIZES, step=st.sampled_from([1 / 255, 8 / 255, 0.3]))
@settings(max_examples=40)
def test_psnr_is_that_of_skimage(seed: int, size: tuple[int, int], step: float) -> None:
    first = images(seed, size)
    second = near(seed + 1, first, step)
    expected = [
        peak_signal_noise_ratio(as_numpy(a), as_numpy(b), data_range=1) for a, b in zip(first, second, strict=True)
    ]
    assert similarity.psnr(first, second).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_of_a_uniform_step_is_its_closed_form() -> None:
    clean = torch.full((2, 3, 8, 8), 0.5)
    assert similarity.psnr(clean, clean + 0.1).tolist() == pytest.approx([20, 20], abs=1e-5)


def test_psnr_of_equal_images_is_infinite() -> None:
    assert similarity.psnr(images(0), images(0)).tolist() == [math.inf, math.inf]


# --- norms ----------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, size=SIZES)
@settings(max_examples=30)
def test_norms_are_those_of_numpy(seed: int, size: tuple[int, int]) -> None:
    first, second = images(seed, size), images(seed + 1, size)
    second[0] = first[0]
    second[0, 1, 3, 2] = 1 - first[0, 1, 3, 2]
    flat = (first - second).double().reshape(2, -1).numpy()
    assert similarity.linf(first, second).tolist() == pytest.approx(np.abs(flat).max(axis=1).tolist(), rel=1e-6)
    assert similarity.l2(first, second).tolist() == pytest.approx(np.linalg.norm(flat, axis=1).tolist(), rel=1e-6)


def test_l0_counts_pixels_not_values() -> None:
    first = torch.zeros(2, 3, 4, 5)
    second = first.clone()
    second[0, :, 1, 1] = 1  # three values of one pixel
    second[1, 0, 0, 0] = second[1, 2, 3, 4] = 0.25
    assert similarity.l0(first, second).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["ssim", "psnr", "linf", "l2", "l0"])
def test_every_measure_is_one_float32_an_image_whatever_its_companions(name: str) -> None:
    measure = getattr(similarity, name)
    first, second = images(3, count=3), images(4, count=3)
    together = measure(first, second)
    assert together.shape == (3,)
    assert together.dtype == torch.float32
    alone = torch.cat([measure(first[row : row + 1], second[row : row + 1]) for row in range(3)])
    assert together.tolist() == pytest.approx(alone.tolist(), rel=1e-6)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ssim", "psnr", "l2"])
def test_gradients_are_the_limits_of_differences(name: str) -> None:
    measure = getattr(similarity, name)
    first = images(5, count=1)
    second = near(6, first, 0.1).clamp(0.05, 0.95).requires_grad_()
    (gradient,) = torch.autograd.grad(measure(first, second).sum(), second)
    direction = torch.sign(gradient)
    step = 1e-3
    with torch.no_grad():
        difference = (measure(first, second + step * direction) - measure(first, second - step * direction)) / (
            2 * step
        )
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-2)


def test_gradients_of_ssim_are_finite_for_equal_and_flat_images() -> None:
    flat = torch.full((1, 3, 9, 9), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(similarity.ssim(flat.detach(), flat).sum(), flat)
    assert bool(gradient.isfinite().all())
