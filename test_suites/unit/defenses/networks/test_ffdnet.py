"""FFDNet: the published layout and values, and MATLAB's order of sub-images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.purification.networks.ffdnet import DEPTH, FFDNet, from_columns


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> FFDNet:
    made: FFDNet = filled(FFDNet)
    return made


def test_layout_and_values_are_the_published_ones(
    network: FFDNet, layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    """The figures are of the authors' PyTorch class (cszn/KAIR) with the same weights, at a level of 0.1."""
    assert layout(network.state_dict()) == (24, "05b2f109b4610504")
    assert sum(parameter.numel() for parameter in network.parameters()) == 852_108
    values = [-0.1188333, 0.4134496, -0.2273349, -0.3329998, 0.4363228, -0.00897269, 0.3231867]
    assert probes(network(noise(2, 13, 17), 0.1)) == pytest.approx(values, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (8, 5), (7, 7)])
def test_an_odd_side_is_lengthened_by_its_last_pixels(
    network: FFDNet, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(1, *size)
    rows, columns = (np.minimum(np.arange(side + side % 2), side - 1) for side in size)
    longer = network(images[:, :, rows][..., columns], 0.1)
    assert torch.equal(network(images, 0.1), longer[:, :, : size[0], : size[1]])


def test_the_level_matters_and_may_differ_between_images(network: FFDNet, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 8, 8)
    one, other = network(images, 0.05), network(images, 0.2)
    assert not torch.allclose(one, other, atol=1e-3)
    assert torch.allclose(network(images, torch.tensor([0.05, 0.2])), torch.stack([one[0], other[1]]), atol=1e-6)


def test_it_sees_no_farther_than_it_says(network: FFDNet) -> None:
    leaf = torch.rand(1, 3, 64, 4).requires_grad_(True)
    network(leaf, 0.1)[:, :, 32].square().sum().backward()
    rows = leaf.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert int(rows.min()) >= 32 - FFDNet.reach
    assert int(rows.max()) <= 32 + FFDNet.reach
    assert int(rows.max()) - int(rows.min()) > 2 * (FFDNet.reach - 4)


def as_in_matlab(images: np.ndarray, sigma: float, weights: dict[str, Tensor]) -> np.ndarray:
    """The MATLAB code step by step: sub-images down the columns first, for one (3, H, W) image of even sides."""
    parts = [images[colour, row::2, column::2] for colour in range(3) for column in (0, 1) for row in (0, 1)]
    features = torch.from_numpy(np.stack([*parts, np.full_like(parts[0], sigma)]))[None]
    for layer in range(DEPTH):
        features = F.conv2d(features, weights[f"{2 * layer}.weight"], weights[f"{2 * layer}.bias"], padding=1)
        features = features.clamp(min=0) if layer < DEPTH - 1 else features
    result, planes = np.zeros_like(images), iter(features[0].numpy())
    for colour in range(3):
        for column in (0, 1):
            for row in (0, 1):
                result[colour, row::2, column::2] = next(planes)
    return result


def test_weights_in_matlabs_order_are_put_in_torchs(network: FFDNet, noise: Callable[..., Tensor]) -> None:
    matlab = {key.removeprefix("model."): value for key, value in network.state_dict().items()}
    ours = FFDNet()
    ours.model.load_state_dict(from_columns(matlab))
    for image in noise(2, 10, 6):
        expected = as_in_matlab(image.numpy(), 0.1, matlab)
        assert np.allclose(ours(image[None], 0.1)[0].detach().numpy(), expected, atol=1e-5)
        assert not np.allclose(network(image[None], 0.1)[0].numpy(), expected, atol=1e-2)
