"""Pooled statistics against numpy, and their gradient where a standard deviation has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness.metrics.pooling import mean_and_deviation, mean_and_deviation_channels

MAPS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-100, 100, width=32),
)


@given(maps=MAPS)
def test_statistics_are_those_of_numpy(maps: np.ndarray) -> None:
    pooled = mean_and_deviation(torch.from_numpy(maps))
    channels = maps.shape[1]
    assert pooled.shape == (len(maps), mean_and_deviation_channels(channels))
    assert pooled[:, :channels].numpy() == pytest.approx(maps.mean(axis=(2, 3)), rel=1e-9, abs=1e-9)
    # The published floor of 0.001 and nothing else is added to the population's deviation.
    floored = np.hypot(maps.std(axis=(2, 3)), 0.001)
    assert pooled[:, channels:].numpy() == pytest.approx(floored, rel=1e-9, abs=1e-9)


def test_an_image_is_pooled_on_its_own() -> None:
    maps = torch.randn(4, 5, 7, 6, generator=torch.Generator().manual_seed(0))
    together = mean_and_deviation(maps)
    assert together.equal(torch.cat([mean_and_deviation(image[None]) for image in maps]))


@pytest.mark.parametrize("value", [0.0, 0.5, 6.0])
def test_a_constant_map_has_a_finite_gradient(value: float) -> None:
    maps = torch.full((1, 3, 4, 4), value, requires_grad=True)
    statistics = mean_and_deviation(maps)
    assert statistics[0, 3:].tolist() == pytest.approx([0.001] * 3, rel=1e-6)
    (of_means,) = torch.autograd.grad(statistics[:, :3].sum(), maps, retain_graph=True)
    (of_deviations,) = torch.autograd.grad(statistics[:, 3:].sum(), maps)
    assert of_means.flatten().tolist() == pytest.approx([1 / 16] * 48)
    assert not of_deviations.any()


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_gradient_equals_finite_differences(spread: float) -> None:
    maps = spread * torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(mean_and_deviation, maps.requires_grad_(), eps=1e-7 * spread, atol=1e-6)
