"""`fcn`: the filter's output, clamped; tiles have statistics of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.fcn import FCNFilter
from iqa_robustness.defenses.purification.networks.fcn import FCN


@pytest.fixture
def network(filled: Callable[..., Any]) -> FCN:
    made: FCN = filled(FCN)
    return made


@pytest.fixture
def path(tmp_path: Path, network: FCN) -> str:
    """As the published training script saves it."""
    torch.save({"model": network.state_dict(), "epoch": 120}, tmp_path / "fcn_mse.pth")
    return str(tmp_path / "fcn_mse.pth")


def test_it_is_the_networks_image_within_the_range(path: str, network: FCN, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 33, 47)
    purified = FCNFilter(weights=path).purify(images)
    assert torch.equal(purified, network(images).clamp(0, 1))
    assert FCNFilter.keeps_geometry
    assert FCNFilter.differentiable


def test_a_tile_is_filtered_with_its_own_statistics(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 64, 64)
    whole, tiled = (FCNFilter(weights=path, tile=tile).purify(images) for tile in (0, 32))
    assert tiled.shape == whole.shape
    assert not torch.allclose(tiled, whole, atol=1e-4)
    corner = FCNFilter(weights=path).purify(images[:, :, 29:, :35])[:, :, 3:, :32]
    assert torch.equal(tiled[:, :, 32:, :32], corner)
    assert torch.equal(FCNFilter(weights=path, tile=64).purify(images), whole)


def test_images_do_not_share_statistics(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 20, 20)
    images[1] *= 0.1
    purify = FCNFilter(weights=path).purify
    assert torch.allclose(purify(images)[:1], purify(images[:1]), atol=1e-5)
