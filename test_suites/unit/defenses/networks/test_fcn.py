"""FCN: the published layout, the published implementation's values, and the same by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor

from iqa_robustness.defenses.purification.networks.fcn import FCN


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> FCN:
    made: FCN = filled(FCN)
    return made


def test_layout_and_values_are_the_published_ones(
    network: FCN, layout: Any, probes: Any, noise: Callable[..., Tensor]
) -> None:
    """The figures are of the authors' class with the same weights."""
    assert layout(network.state_dict()) == (6, "df498dc6afd58829")
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_459
    values = [0.9078431, 0.7378321, 0.5909175, 0.6842701, -0.143472, -0.4122474, 0.6262651]
    assert probes(network(noise(2, 13, 17))) == pytest.approx(values, rel=1e-5, abs=1e-6)


def by_scipy(image: np.ndarray, state: dict[str, Tensor]) -> np.ndarray:
    def convolved(planes: np.ndarray, name: str) -> np.ndarray:
        kernels, biases = state[f"{name}.weight"].double().numpy(), state[f"{name}.bias"].double().numpy()
        return np.stack(
            [
                sum(correlate2d(plane, part, mode="same") for plane, part in zip(planes, kernel, strict=True)) + bias
                for kernel, bias in zip(kernels, biases, strict=True)
            ]
        )

    def leaky(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, 0.2 * values)

    features = convolved(leaky(convolved(image, "conv1")), "conv2")
    mean, variance = (part(axis=(1, 2), keepdims=True) for part in (features.mean, features.var))
    return np.tanh(convolved(leaky((features - mean) / np.sqrt(variance + 1e-5)), "conv3"))


def test_values_are_scipys(network: FCN, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 9, 12, seed=3)
    expected = np.stack([by_scipy(image.double().numpy(), network.state_dict()) for image in images])
    assert np.allclose(network(images).numpy(), expected, atol=1e-5)


def test_a_brighter_region_changes_all_of_the_image(network: FCN, noise: Callable[..., Tensor]) -> None:
    """The normalisation is global: why tiles give another result."""
    images = noise(1, 24, 24)
    changed = images.clone()
    changed[:, :, :4] = 1
    assert not torch.allclose(network(images)[:, :, 20:], network(changed)[:, :, 20:], atol=1e-4)


def test_a_constant_image_is_no_division_by_zero(network: FCN) -> None:
    leaf = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    restored = network(leaf)
    restored.sum().backward()
    assert torch.isfinite(restored).all()
    assert torch.isfinite(leaf.grad).all()
