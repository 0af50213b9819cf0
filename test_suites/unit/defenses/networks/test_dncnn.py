"""DnCNN and FDnCNN: the published layout and the published implementation's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.networks.dncnn import DEPTH, DnCNN, FDnCNN, chain, with_level

# Layouts and values of the authors' PyTorch classes (cszn/KAIR) with the same weights, at a level of 0.1.
BLIND = [0.3938248, 0.2268112, 1.495119, -0.4292115, 0.03527594, 0.7753707, 0.6243782]
TOLD = [0.1202552, -0.01615983, -0.4675748, 0.7507413, 0.1698214, 0.1272882, 0.4118413]


def test_layout_and_values_of_the_blind_one(
    filled: Callable[..., Any], layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    network = filled(DnCNN)
    assert layout(network.state_dict()) == (40, "0030d9d7e58ef9b8")
    assert sum(parameter.numel() for parameter in network.parameters()) == 668_227
    assert probes(network(noise(2, 13, 17))) == pytest.approx(BLIND, rel=1e-5, abs=1e-6)


def test_layout_and_values_of_the_one_that_is_told(
    filled: Callable[..., Any], layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    network = filled(FDnCNN)
    assert layout(network.state_dict()) == (40, "09a25b224bcd6279")
    assert sum(parameter.numel() for parameter in network.parameters()) == 668_803
    assert probes(network(noise(2, 13, 17), 0.1)) == pytest.approx(TOLD, rel=1e-5, abs=1e-6)


def test_without_weights_the_blind_one_is_the_identity(noise: Callable[..., Tensor]) -> None:
    network = DnCNN()
    for parameter in network.parameters():
        parameter.data.zero_()
    assert torch.equal(network(noise(2, 5, 6)), noise(2, 5, 6))


def test_every_image_may_have_its_own_level(filled: Callable[..., Any], noise: Callable[..., Tensor]) -> None:
    network, images = filled(FDnCNN), noise(3, 9, 8)
    levels = torch.tensor([0.0, 0.1, 0.3])
    apart = torch.cat([network(images[row : row + 1], float(level)) for row, level in enumerate(levels)])
    assert torch.allclose(network(images, levels), apart, atol=1e-5)
    assert not torch.allclose(network(images, 0.1), apart, atol=1e-3)


def test_the_level_is_one_more_channel(noise: Callable[..., Tensor]) -> None:
    images = noise(2, 3, 4)
    joined = with_level(images, torch.tensor([0.25, 0.5]))
    assert torch.equal(joined[:, :3], images)
    assert torch.equal(joined[:, 3], torch.tensor([0.25, 0.5])[:, None, None].expand(2, 3, 4))


@pytest.mark.parametrize(("depth", "convolutions"), [(2, 2), (12, 12), (DEPTH, 20)])
def test_a_chain_has_relus_between_its_convolutions_only(depth: int, convolutions: int) -> None:
    kinds = [type(layer).__name__ for layer in chain(3, 3, width=4, depth=depth)]
    assert kinds == ["Conv2d", "ReLU"] * (convolutions - 1) + ["Conv2d"]
