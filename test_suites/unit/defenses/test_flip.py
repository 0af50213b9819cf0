"""Flip mirrors left and right, is its own inverse, and moves no value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.images import to_uint8

IMAGES = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (2, 3, 5, 8)).astype(np.float32)) / 255


def test_it_mirrors_left_and_right_as_pillow_does() -> None:
    for before, after in zip(to_uint8(IMAGES), to_uint8(Flip().purify(IMAGES)), strict=True):
        assert np.array_equal(after, np.array(ImageOps.mirror(Image.fromarray(before))))


def test_paper_turns_by_half_a_circle_as_pillow_does() -> None:
    for before, after in zip(to_uint8(IMAGES), to_uint8(Flip(paper=True).purify(IMAGES)), strict=True):
        assert np.array_equal(after, np.array(Image.fromarray(before).transpose(Image.Transpose.ROTATE_180)))


@pytest.mark.parametrize("paper", [False, True])
def test_it_is_its_own_inverse_and_only_moves_values(paper: bool) -> None:
    flip = Flip(paper=paper)
    once = flip.purify(IMAGES)
    assert torch.equal(flip.purify(once), IMAGES)
    assert not torch.equal(once, IMAGES)
    assert torch.equal(once.flatten(2).sort(dim=2).values, IMAGES.flatten(2).sort(dim=2).values)


@pytest.mark.parametrize("paper", [False, True])
def test_the_gradient_is_flipped_too(paper: bool) -> None:
    leaf = IMAGES.clone().requires_grad_(True)
    weights = torch.rand(3, 5, 8)
    (Flip(paper=paper).purify(leaf) * weights).sum().backward()
    assert torch.equal(leaf.grad, weights.flip((-2, -1) if paper else (-1,)).expand_as(leaf))


def test_pixels_no_longer_correspond() -> None:
    assert not Flip.keeps_geometry
    assert Flip.differentiable
