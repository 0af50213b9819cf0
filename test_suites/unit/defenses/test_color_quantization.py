"""Colour quantization: the nearest of few levels, and a slope that passes straight through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness.defenses.purification.color_quantization import ColorQuantization
from iqa_robustness.errors import ConfigurationError

LEVELS = ColorQuantization.parameter_values
IMAGES = hnp.arrays(np.float32, (1, 3, 4, 5), elements=st.floats(0, 1, width=32))


@given(images=IMAGES, levels=st.sampled_from(LEVELS))
def test_each_value_becomes_the_nearest_level(images: np.ndarray, levels: int) -> None:
    purified = ColorQuantization(levels=levels).purify(torch.from_numpy(images)).numpy().astype(np.float64)
    grid = np.arange(levels) / (levels - 1)
    distances = np.abs(grid - images[..., None].astype(np.float64))
    assert np.abs(purified[..., None] - grid).min(axis=-1).max() < 1e-7
    assert np.abs(np.abs(purified - images) - distances.min(axis=-1)).max() < 1e-6


@given(images=IMAGES, levels=st.integers(2, 256))
def test_twice_is_once_and_order_is_kept(images: np.ndarray, levels: int) -> None:
    defense, leaf = ColorQuantization(levels=levels), torch.from_numpy(images)
    once = defense.purify(leaf)
    assert torch.equal(defense.purify(once), once)
    order = leaf.flatten().argsort()
    assert (once.flatten()[order].diff() >= 0).all()


@pytest.mark.parametrize("levels", LEVELS)
def test_a_ramp_has_as_many_levels_as_declared(levels: int) -> None:
    ramp = torch.linspace(0, 1, 3 * 40 * 40).view(1, 3, 40, 40)
    assert len(ColorQuantization(levels=levels).purify(ramp).unique()) == levels


def test_the_middle_of_two_levels_goes_to_the_even_one() -> None:
    middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(1, 3, 1, 4)  # between the five of 0, ¼, ½, ¾, 1
    assert ColorQuantization(levels=5).purify(middles)[0, 0, 0].tolist() == [0, 0.5, 0.5, 1]


def test_with_256_levels_an_8_bit_image_is_untouched() -> None:
    images = torch.arange(256.0).expand(1, 3, 1, 256) / 255
    assert torch.equal(ColorQuantization(levels=256).purify(images), images)


def test_the_slope_passes_straight_through_and_the_value_is_exact(grain: Tensor) -> None:
    defense, leaf = ColorQuantization(), grain.clone().requires_grad_(True)
    weights = torch.rand(grain.shape)
    applied = defense.applied(leaf)
    (applied * weights).sum().backward()
    assert torch.equal(applied.detach(), defense.purify(grain))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, weights)
    assert (defense.differentiable, defense.surrogate_name) == (False, "identity")


@pytest.mark.parametrize("levels", [1, 0, -4])
def test_fewer_than_two_levels_are_refused(levels: int) -> None:
    with pytest.raises(ConfigurationError, match="at least 2 levels"):
        ColorQuantization(levels=levels)
