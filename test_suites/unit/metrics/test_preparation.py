"""Sizes, patches and means against Pillow, scikit-image and torchvision."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.transform import resize as scikit_resize
from torch import Tensor

from iqa_robustness.errors import ImageContractError
from iqa_robustness.metrics.preparation import (
    HALF,
    IMAGENET,
    enlarged,
    normalised,
    patches,
    refuse_smaller,
    resized,
    shorter_side,
    windows,
)

SIZES = [((96, 128), (48, 64)), ((97, 65), (50, 61)), ((40, 50), (80, 90)), ((64, 64), (64, 96))]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_with_antialiasing_it_is_pillows(
    noise: Callable[..., Tensor], old: tuple[int, int], new: tuple[int, int]
) -> None:
    image = noise(1, *old)
    got = resized(image, new, antialias=True)[0]
    for channel in range(3):
        plane = Image.fromarray(image[0, channel].numpy())
        expected = np.asarray(plane.resize(new[::-1], Image.Resampling.BILINEAR))
        assert np.abs(got[channel].numpy() - expected).max() < 1e-5


def test_pillow_rounds_to_8_bits_and_this_does_not(noise: Callable[..., Tensor]) -> None:
    pixels = (noise(1, 96, 128)[0] * 255).round()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8)).resize(
        (64, 48), Image.Resampling.BILINEAR
    )
    expected = np.asarray(picture).transpose(2, 0, 1) / 255
    difference = np.abs(resized(pixels[None] / 255, (48, 64), antialias=True)[0].numpy() - expected).max()
    assert 1e-4 < difference < 1.5 / 255


@pytest.mark.parametrize(("old", "new"), SIZES[:2])
def test_without_it_is_scikit_images_where_it_shrinks(
    noise: Callable[..., Tensor], old: tuple[int, int], new: tuple[int, int]
) -> None:
    image = noise(1, *old)
    expected = scikit_resize(image[0].permute(1, 2, 0).numpy(), new, order=1, anti_aliasing=False)
    got = resized(image, new, antialias=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - expected).max() < 1e-5


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 97), (61, 61)])
def test_it_is_torchvisions(
    noise: Callable[..., Tensor], antialias: bool, size: tuple[int, int], torchvision: Any
) -> None:
    Resize = importlib.import_module("torchvision.transforms").Resize
    images = noise(2, *size)
    assert torch.equal(resized(images, (72, 48), antialias=antialias), Resize([72, 48], antialias=antialias)(images))
    assert torch.equal(shorter_side(images, 50, antialias=antialias), Resize(50, antialias=antialias)(images))


def test_an_image_of_the_size_is_returned_as_it_is(noise: Callable[..., Tensor]) -> None:
    images = noise(1, 40, 60)
    assert resized(images, (40, 60), antialias=True) is images
    assert shorter_side(images, 40, antialias=True) is images
    assert enlarged(images, 40) is images
    assert enlarged(images, 30) is images


@given(height=st.integers(32, 200), width=st.integers(32, 200), least=st.integers(32, 100))
def test_enlarged_reaches_the_least_side_and_keeps_the_aspect(height: int, width: int, least: int) -> None:
    got = enlarged(torch.zeros(1, 3, height, width), least).shape[2:]
    assert min(got) == max(min(height, width), least)
    assert max(got) == max(height, width) * min(got) // min(height, width)


@given(side=st.integers(1, 40), extra=st.integers(0, 100), stride=st.integers(1, 50))
def test_windows_start_at_the_beginning_and_end_at_the_end(side: int, extra: int, stride: int) -> None:
    length = side + extra
    starts = windows(length, side, stride)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] == length - side
    assert all(after - before <= stride for before, after in itertools.pairwise(starts))
    assert all(start % stride == 0 for start in starts[:-1])


def test_windows_of_the_benchmarks_size() -> None:
    assert windows(384, 224, 112) == [0, 112, 160]
    assert windows(512, 224, 112) == [0, 112, 224, 288]
    assert windows(448, 224, 112) == [0, 112, 224]


def test_patches_stand_row_by_row(noise: Callable[..., Tensor]) -> None:
    images = noise(2, 20, 30)
    cut = patches(images, 16, 8)
    assert cut.shape == (2, 2 * 3, 3, 16, 16)
    assert torch.equal(cut[1, 4], images[1, :, 4:20, 8:24])


def test_means_and_deviations(noise: Callable[..., Tensor]) -> None:
    images = noise(2, 8, 9)
    before = images.clone()
    assert torch.allclose(normalised(images, HALF), images * 2 - 1, atol=1e-6)
    got = normalised(images, IMAGENET)
    for channel, (mean, deviation) in enumerate(zip(*IMAGENET, strict=True)):
        assert torch.allclose(got[:, channel], (images[:, channel] - mean) / deviation, atol=1e-5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_small_images_are_refused_by_name(size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match="some-metric takes images from 32 x 32") as raised:
        refuse_smaller(torch.zeros(1, 3, *size), "some-metric")
    assert raised.value.where.metric == "some-metric"
    assert raised.value.fix
    refuse_smaller(torch.zeros(1, 3, 32, 32), "some-metric")


@pytest.mark.parametrize(
    "step",
    [
        lambda images: resized(images, (20, 30), antialias=True),
        lambda images: resized(images, (50, 60), antialias=False),
        lambda images: enlarged(images, 70),
        lambda images: normalised(images, IMAGENET),
        lambda images: patches(images, 32, 16),
    ],
)
def test_gradients_pass(noise: Callable[..., Tensor], step: Callable[[Tensor], Tensor]) -> None:
    images = noise(1, 40, 48).requires_grad_()
    (slope,) = torch.autograd.grad(step(images).sum(), images)
    assert bool((slope > 0).all())
