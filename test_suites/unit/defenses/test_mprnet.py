"""`mprnet`: padded by reflection to multiples of 8 and cut back; a checkpoint as its authors save it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.purification.mprnet import MPRNetDenoising
from iqa_robustness.defenses.purification.networks.mprnet import MPRNet


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> MPRNet:
    made: MPRNet = filled(MPRNet, gain=0.3)
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, network: MPRNet) -> str:
    """With DataParallel's prefix, beside what training needs."""
    file = tmp_path_factory.mktemp("mprnet") / "model_denoising.pth"
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 76, "state_dict": state, "optimizer": {"state": {}}}, file)
    return str(file)


def published_padding(images: Tensor) -> Tensor:
    """To the next multiple of 8, right and below, by the benchmark's arithmetic."""
    height, width = images.shape[2:]
    below = (height + 8) // 8 * 8 - height if height % 8 else 0
    right = (width + 8) // 8 * 8 - width if width % 8 else 0
    return F.pad(images, (0, right, 0, below), "reflect")


@pytest.mark.parametrize("size", [(16, 24), (17, 24), (15, 9)])
def test_it_is_the_published_procedure(
    path: str, network: MPRNet, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(1, *size)
    with torch.inference_mode():
        expected = network(published_padding(images)).clamp(0, 1)[:, :, : size[0], : size[1]]
        purified = MPRNetDenoising(weights=path).purify(images)
    assert torch.equal(purified, expected)
    assert not torch.equal(purified, images)
    assert MPRNetDenoising.keeps_geometry


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (4, 8)])
def test_what_is_too_small_to_be_reflected_repeats_its_edge(
    path: str, network: MPRNet, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(1, *size)
    below, right = -size[0] % 8, -size[1] % 8
    with torch.inference_mode():
        longer = network(F.pad(images, (0, right, 0, below), "replicate")).clamp(0, 1)
        assert torch.equal(MPRNetDenoising(weights=path).purify(images), longer[:, :, : size[0], : size[1]])


def test_tiles_change_its_averages_and_hence_its_key(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 8, 56)
    with torch.inference_mode():
        whole, tiled = (MPRNetDenoising(weights=path, tile=tile).purify(images) for tile in (0, 16))
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole)
    assert torch.allclose(tiled, whole, atol=0.2)
