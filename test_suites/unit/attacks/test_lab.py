"""CIELAB against scikit-image, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.color
import torch

from iqa_robustness.attacks.lab import from_lab, to_lab


def test_it_is_scikit_images_and_comes_back(toys: object) -> None:
    levels = torch.cartesian_prod(*[torch.tensor([0, 1, 10, 60, 127, 128, 200, 254, 255])] * 3)
    images = (levels.float() / 255).T.reshape(1, 3, 27, 27)
    found = to_lab(images)
    expected = skimage.color.rgb2lab(images[0].permute(1, 2, 0).double().numpy())
    assert found[0].permute(1, 2, 0).numpy() == pytest.approx(expected, abs=2e-3)
    assert np.array_equal((from_lab(found) * 255).round().numpy(), (images * 255).round().numpy())


def test_what_no_screen_shows_is_cut_and_has_finite_slopes() -> None:
    lab = torch.zeros(1, 3, 2, 3)
    lab[0, :, 0] = torch.tensor([[50.0, 0.0, 100.0], [120.0, 0.0, -120.0], [-120.0, 0.0, 120.0]])
    leaf = lab.requires_grad_(True)
    images = from_lab(leaf)
    assert 0 <= float(images.detach().min()) <= float(images.detach().max()) <= 1
    (slope,) = torch.autograd.grad(images.sum(), leaf)
    assert torch.isfinite(slope).all()
