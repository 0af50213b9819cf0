"""Resize: Pillow's bilinear shrinking by default, torchvision's without antialiasing as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.errors import ConfigurationError

SCALES = Resize.parameter_values


def pillow(images: Tensor, height: int, width: int) -> np.ndarray:
    """In floating point, plane by plane."""
    planes = images.flatten(0, 1).numpy()
    small = [np.array(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR)) for p in planes]
    return np.stack(small).reshape(*images.shape[:2], height, width)


@pytest.mark.parametrize(
    ("scale", "size"), [(0.1, (3, 5)), (0.25, (9, 13)), (0.5, (18, 26)), (0.75, (27, 39)), (0.9, (33, 46))]
)
def test_it_is_pillows_shrinking(grain: Tensor, scale: float, size: tuple[int, int]) -> None:
    purified = Resize(scale=scale).purify(grain)
    assert purified.shape == (2, 3, *size)
    assert np.abs(purified.numpy() - pillow(grain, *size)).max() < 5e-6


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("scale", SCALES)
def test_as_published_it_is_torchvisions_without_antialiasing(grain: Tensor, scale: float) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    purified = Resize(scale=scale, paper=True).purify(grain)
    assert torch.equal(purified, functional.resize(grain, [*purified.shape[2:]], antialias=False))


def test_by_half_the_published_one_is_the_mean_of_four_and_a_quarter_leaves_most_pixels_out() -> None:
    images = torch.rand(1, 3, 16, 24)
    assert torch.allclose(Resize(paper=True).purify(images), F.avg_pool2d(images, 2), atol=1e-6)
    stripes = torch.zeros(1, 3, 16, 24)
    stripes[..., 0::4] = 1  # of every four columns, the two in the middle are read
    assert float(Resize(scale=0.25, paper=True).purify(stripes).max()) == 0
    assert float(Resize(scale=0.25).purify(stripes).mean()) == pytest.approx(0.25, abs=0.02)


@settings(max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), scale=st.floats(0.01, 1), paper=st.booleans())
def test_any_size_and_scale_give_an_image_within_range(height: int, width: int, scale: float, paper: bool) -> None:
    images = torch.from_numpy(np.random.RandomState(height).randint(0, 2, (1, 3, height, width)).astype(np.float32))
    purified = Resize(scale=scale, paper=paper).purify(images)
    assert purified.shape == (1, 3, max(1, int(height * scale)), max(1, int(width * scale)))
    assert 0 <= float(purified.min()) <= float(purified.max()) <= 1


def test_at_full_scale_nothing_happens(grain: Tensor) -> None:
    assert torch.equal(Resize(scale=1).purify(grain), grain)


@pytest.mark.parametrize("paper", [False, True])
def test_its_gradient_is_that_of_finite_differences(paper: bool) -> None:
    images = torch.from_numpy(np.random.RandomState(1).uniform(0.2, 0.8, (1, 3, 7, 8))).requires_grad_(True)
    assert torch.autograd.gradcheck(Resize(paper=paper).purify, (images,))


def test_pixels_no_longer_correspond() -> None:
    assert not Resize().keeps_geometry
    assert not Resize(paper=True).keeps_geometry


@pytest.mark.parametrize("scale", [0, -0.5, 1.5, np.nan])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ConfigurationError, match="resize needs a scale above 0 and at most 1"):
        Resize(scale=scale)
