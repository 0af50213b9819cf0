"""RRDBNet: the published layout and the published implementation's values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.purification.networks.rrdb import DenseBlock, ResidualBlock, RRDBNet


def test_layout_and_values_are_the_published_ones(
    filled: Callable[..., Any], layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    """The figures are of the authors' class with the same weights."""
    network = filled(RRDBNet, gain=0.7)
    assert layout(network.state_dict()) == (702, "4f3f0967b9899f50")
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_697_987
    with torch.inference_mode():
        enlarged = network(noise(1, 8, 10))
    assert enlarged.shape == (1, 3, 32, 40)
    values = [-0.4269602, -1.650271, -0.7915962, 0.008230209, 0.3900947, 0.3602934, 0.9437801]
    assert probes(enlarged) == pytest.approx(values, rel=1e-5, abs=1e-5)


def test_a_dense_block_sees_everything_before(filled: Callable[..., Any]) -> None:
    block = filled(DenseBlock)
    features = torch.rand(1, 64, 5, 6)
    seen = [features]
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        layer = getattr(block, name)
        result = F.conv2d(torch.cat(seen, dim=1), layer.weight, layer.bias, padding=1)
        seen.append(torch.where(result > 0, result, 0.2 * result))
    last = F.conv2d(torch.cat(seen[:-1], dim=1), block.conv5.weight, block.conv5.bias, padding=1)
    assert torch.allclose(block(features), features + 0.2 * last, atol=1e-5)


def test_branches_without_weights_leave_the_features() -> None:
    block = ResidualBlock()
    for dense in (block.rdb1, block.rdb2, block.rdb3):
        for parameter in dense.conv5.parameters():
            parameter.data.zero_()
    features = torch.rand(1, 64, 4, 4)
    # Each of the two enclosures adds its branch, which is the features themselves, at a fifth.
    assert torch.allclose(block(features), 1.2 * features)


def test_it_sees_no_farther_than_it_says(filled: Callable[..., Any]) -> None:
    network = filled(partial(RRDBNet, blocks=1))
    assert network.reach == 19
    assert RRDBNet(blocks=0).reach == 4
    leaf = torch.rand(1, 3, 51, 3).requires_grad_(True)
    network(leaf)[:, :, 100:104].square().sum().backward()
    rows = leaf.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert 25 - network.reach <= int(rows.min()) <= 25 - network.reach + 2
    assert 25 + network.reach - 2 <= int(rows.max()) <= 25 + network.reach
