"""MPRNet: the published layout and the published implementation's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks.mprnet import (
    AttentionBlock,
    ChannelAttention,
    MPRNet,
    Scaled,
    SupervisedAttention,
)


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> MPRNet:
    made: MPRNet = filled(MPRNet, gain=0.6)
    return made


def test_layout_and_values_are_the_published_ones(
    network: MPRNet, layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    """The figures are of the authors' class with the same weights."""
    assert layout(network.state_dict()) == (316, "d721dbfa8e22b902")
    assert sum(parameter.numel() for parameter in network.parameters()) == 15_741_025
    with torch.inference_mode():
        restored = network(noise(1, 16, 24))
    values = [0.3945282, 0.7828295, -0.3978182, -0.4453835, -0.4513483, 0.194533, 0.5466607]
    assert probes(restored) == pytest.approx(values, rel=1e-5, abs=1e-5)


def test_all_blocks_share_one_slope(network: MPRNet) -> None:
    slopes = {name for name, _ in network.named_parameters() if name.endswith("body.1.weight")}
    assert slopes == {"shallow_feat1.1.body.1.weight"}
    assert len([key for key in network.state_dict() if key.endswith("body.1.weight")]) > 50


def test_every_image_is_restored_on_its_own(network: MPRNet, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 8, 8)
    with torch.inference_mode():
        apart = torch.cat([network(images[:1]), network(images[1:])])
        assert torch.allclose(network(images), apart, atol=1e-5)


def test_gradients_reach_every_pixel(network: MPRNet, noise: Callable[..., Tensor]) -> None:
    leaf = noise(1, 8, 16).requires_grad_(True)
    network(leaf).square().sum().backward()
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad != 0).all()


# --- parts ------------------------------------------------------------------------------------------------------------


def test_channel_attention_gates_by_means_of_the_whole_image(filled: Callable[..., Any]) -> None:
    attention = filled(lambda: ChannelAttention(8))
    features = torch.rand(2, 8, 5, 6)
    squeeze, excite = (attention.conv_du[place].weight[:, :, 0, 0] for place in (0, 2))
    gates = torch.sigmoid((features.mean(dim=(2, 3)) @ squeeze.T).clamp(min=0) @ excite.T)
    assert torch.allclose(attention(features), features * gates[:, :, None, None], atol=1e-6)


def test_an_attention_block_adds_to_its_input(filled: Callable[..., Any]) -> None:
    block = filled(lambda: AttentionBlock(8, nn.PReLU()))
    features = torch.rand(1, 8, 6, 7)
    first, slope, second = block.body[0].weight, block.body[1].weight, block.body[2].weight
    hidden = F.conv2d(features, first, padding=1)
    hidden = torch.where(hidden > 0, hidden, slope * hidden)
    changed = block.CA(F.conv2d(hidden, second, padding=1))
    assert torch.allclose(block(features), features + changed, atol=1e-6)


def test_halving_takes_the_mean_of_four_and_doubling_interpolates(filled: Callable[..., Any]) -> None:
    features = torch.rand(1, 4, 6, 8)
    down, up = filled(lambda: Scaled(4, 5, 0.5)), filled(lambda: Scaled(4, 5, 2))
    assert [*down.state_dict()] == ["down.1.weight"]
    assert [*up.state_dict()] == ["up.1.weight"]
    assert torch.allclose(down(features), F.conv2d(F.avg_pool2d(features, 2), down.down[1].weight), atol=1e-6)
    wide = F.interpolate(features, size=(12, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(up(features), F.conv2d(wide, up.up[1].weight), atol=1e-6)


def test_supervised_attention_gates_by_the_restored_image(filled: Callable[..., Any]) -> None:
    attention = filled(SupervisedAttention)
    features, images = torch.rand(1, 80, 4, 5), torch.rand(1, 3, 4, 5)
    restored = F.conv2d(features, attention.conv2.weight) + images
    gates = torch.sigmoid(F.conv2d(restored, attention.conv3.weight))
    expected = features + gates * F.conv2d(features, attention.conv1.weight)
    assert torch.allclose(attention(features, images), expected, atol=1e-6)
