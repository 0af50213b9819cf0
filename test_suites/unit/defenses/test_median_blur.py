"""Median blur: scipy's median filter, with a gradient to the pixel that is the median."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness.defenses.purification.median_blur import MedianBlur
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8

KERNELS = MedianBlur.parameter_values


def scipy_median(images: Tensor, size: int) -> np.ndarray:
    return scipy.ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="mirror")


@pytest.mark.parametrize("size", KERNELS)
def test_it_is_scipys_median_filter_bit_for_bit(grain: Tensor, photographs: np.ndarray, size: int) -> None:
    for images in (grain, from_uint8(photographs[:1, :40, :50])):
        assert np.array_equal(MedianBlur(kernel_size=size).purify(images).numpy(), scipy_median(images, size))


@settings(max_examples=25)
@given(
    pixels=hnp.arrays(np.uint8, (1, 3, 7, 8), elements=st.integers(0, 255)),
    size=st.sampled_from([3, 5]),
    curve=hnp.arrays(np.float32, 256, elements=st.floats(0, 1, width=32)),
)
def test_it_commutes_with_every_increasing_curve(pixels: np.ndarray, size: int, curve: np.ndarray) -> None:
    table, blur = torch.from_numpy(np.sort(curve)), MedianBlur(kernel_size=size)
    levels = torch.from_numpy(pixels.astype(np.int64))
    medians = (blur.purify(levels / 255) * 255).round().long()
    assert torch.equal(blur.purify(table[levels]), table[medians])


def test_single_outlying_pixels_are_gone() -> None:
    images = torch.full((1, 3, 20, 20), 0.5)
    images[0, :, 3::5, 3::5] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    assert (MedianBlur().purify(images) == 0.5).all()


def test_the_gradient_goes_to_the_pixel_that_is_the_median() -> None:
    images = torch.from_numpy(np.random.RandomState(1).permutation(3 * 6 * 7).reshape(1, 3, 6, 7) / 126.0)
    leaf = images.requires_grad_(True)
    assert torch.autograd.gradcheck(MedianBlur().purify, (leaf,))
    assert torch.autograd.gradcheck(MedianBlur(kernel_size=5).purify, (leaf,))


def test_where_pixels_are_equal_one_of_them_gets_the_whole_gradient(photographs: np.ndarray) -> None:
    leaf = from_uint8(photographs[:2, :24, :24]).requires_grad_(True)
    weights = torch.rand(2, 3, 24, 24)
    (MedianBlur().purify(leaf) * weights).sum().backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad.sum(dim=(2, 3)), weights.sum(dim=(2, 3)), rtol=1e-5)


def test_an_image_does_not_depend_on_its_companions(grain: Tensor) -> None:
    whole = MedianBlur(kernel_size=5).purify(grain)
    for row in range(len(grain)):
        assert torch.equal(MedianBlur(kernel_size=5).purify(grain[row : row + 1])[0], whole[row])
    assert MedianBlur().purify(grain[:0]).shape == (0, 3, 37, 52)


@pytest.mark.parametrize("size", [0, 2, 8, -1])
def test_an_even_kernel_or_none_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="odd"):
        MedianBlur(kernel_size=size)


def test_an_image_that_the_mirrored_window_does_not_fit_on_is_refused() -> None:
    assert MedianBlur(kernel_size=11).purify(torch.rand(1, 3, 6, 6)).shape == (1, 3, 6, 6)
    with pytest.raises(ConfigurationError, match=r"takes images from 6 × 6 pixels, got 40 × 5") as caught:
        MedianBlur(kernel_size=11).purify(torch.rand(1, 3, 40, 5))
    assert caught.value.where.defense == "median-blur"
