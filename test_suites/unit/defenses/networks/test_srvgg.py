"""SRVGGNetCompact: the published layout and the published implementation's values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.purification.networks.srvgg import SRVGGNetCompact

# Layouts, and values at six places and the root mean square, are of the authors' class with the same weights.
PUBLISHED = {
    32: (1_213_296, (101, "a329049203fb8bd0"), [0.5027452, 0.4546807, 0.5177304, 0.4479346, 0.3070662, 0.9933947]),
    16: (621_424, (53, "22326a7fb4a27085"), [0.7560118, -0.02732354, 0.6891674, 0.1754012, 0.3924809, 1.104517]),
}
SPREAD = {32: 0.6544011, 16: 0.67525}


@pytest.mark.parametrize("convolutions", PUBLISHED)
def test_layout_and_values_are_the_published_ones(
    convolutions: int, filled: Callable[..., Any], layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    parameters, keys, values = PUBLISHED[convolutions]
    network = filled(partial(SRVGGNetCompact, convolutions=convolutions))
    assert layout(network.state_dict()) == keys
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    with torch.inference_mode():
        enlarged = network(noise(2, 9, 11))
    assert enlarged.shape == (2, 3, 36, 44)
    assert probes(enlarged) == pytest.approx([*values, SPREAD[convolutions]], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_weights_it_repeats_pixels(scale: int, noise: Callable[..., Tensor]) -> None:
    network = SRVGGNetCompact(convolutions=1, scale=scale)
    for parameter in network.parameters():
        parameter.data.zero_()
    images = noise(2, 5, 7)
    expected = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    assert torch.equal(network(images), expected)


def test_it_is_a_chain_of_convolutions_and_prelus(filled: Callable[..., Any], noise: Callable[..., Tensor]) -> None:
    network, images = filled(partial(SRVGGNetCompact, convolutions=3)), noise(1, 8, 9)
    state, features = network.state_dict(), images
    for layer in range(0, 9, 2):
        features = F.conv2d(features, state[f"body.{layer}.weight"], state[f"body.{layer}.bias"], padding=1)
        if f"body.{layer + 1}.weight" in state:
            slope = state[f"body.{layer + 1}.weight"][:, None, None]
            features = features.clamp(min=0) + slope * features.clamp(max=0)
    # Of 16 channels for a colour, channel 4 · row + column is that place in its 4 × 4 pixels.
    placed = features.view(3, 4, 4, 8, 9).permute(0, 3, 1, 4, 2).reshape(1, 3, 32, 36)
    expected = placed + images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert torch.allclose(network(images), expected, atol=1e-5)


@pytest.mark.parametrize(("convolutions", "reach"), [(0, 2), (2, 4), (16, 18), (32, 34)])
def test_its_reach_is_one_pixel_a_convolution(convolutions: int, reach: int, filled: Callable[..., Any]) -> None:
    network = filled(partial(SRVGGNetCompact, convolutions=convolutions))
    assert network.reach == reach
    if convolutions > 2:
        return
    leaf = torch.rand(1, 3, 15, 15).requires_grad_(True)
    network(leaf)[:, :, 28:32, 28:32].square().sum().backward()
    rows = leaf.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert [int(rows.min()), int(rows.max())] == [7 - reach, 7 + reach]
