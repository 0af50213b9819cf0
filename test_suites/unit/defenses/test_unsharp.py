"""Unsharp masking: what a blur takes away is added; as scikit-image and torchvision have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import unsharp_mask
from torch import Tensor

from iqa_robustness.defenses.purification.gaussian_blur import blurred
from iqa_robustness.defenses.purification.unsharp import Unsharp
from iqa_robustness.errors import ConfigurationError


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("size", Unsharp.parameter_values)
def test_it_adds_what_torchvisions_blur_takes_away(grain: Tensor, size: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    expected = (2 * grain - functional.gaussian_blur(grain, [size, size], [1.0, 1.0])).clamp(0, 1)
    assert torch.allclose(Unsharp(kernel_size=size).purify(grain), expected, atol=2e-6)


def test_inside_the_frame_it_is_scikit_images() -> None:
    """Which cuts its Gaussian off after four deviations, as a window of nine does, and treats borders differently."""
    images = torch.from_numpy(np.random.RandomState(3).uniform(0.3, 0.7, (2, 3, 40, 41)).astype(np.float32))
    ours = Unsharp(kernel_size=9).purify(images).numpy()
    planes = [unsharp_mask(plane, radius=1, amount=1) for plane in images.flatten(0, 1).numpy()]
    expected = np.stack(planes).reshape(ours.shape)
    assert np.abs(ours - expected)[..., 4:-4, 4:-4].max() < 1e-6


@given(level=st.floats(0, 1, width=32))
def test_an_even_surface_stays_what_it_is(level: float) -> None:
    images = torch.full((1, 3, 9, 10), level)
    assert torch.allclose(Unsharp().purify(images), images, atol=1e-6)


def test_it_raises_contrast_and_clips(grain: Tensor) -> None:
    purified = Unsharp().purify(grain)
    assert float(purified.std()) > float(grain.std())
    assert (float(purified.min()), float(purified.max())) == (0, 1)


def test_after_a_blur_it_brings_detail_back(grain: Tensor) -> None:
    soft = blurred(grain, 3, 0.8, defense="test")
    restored = Unsharp().purify(soft)
    assert float((restored - grain).square().mean()) < float((soft - grain).square().mean())


def test_its_gradient_is_that_of_finite_differences_where_nothing_is_clipped() -> None:
    images = torch.from_numpy(np.random.RandomState(1).uniform(0.4, 0.6, (1, 3, 6, 7))).requires_grad_(True)
    assert torch.autograd.gradcheck(Unsharp().purify, (images,))


@pytest.mark.parametrize("size", [0, 2, 10])
def test_an_even_kernel_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="odd"):
        Unsharp(kernel_size=size)


def test_an_image_that_is_too_small_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="kernel of 7 pixels takes images from 4 × 4") as caught:
        Unsharp(kernel_size=7).purify(torch.rand(1, 3, 3, 9))
    assert caught.value.where.defense == "unsharp"
