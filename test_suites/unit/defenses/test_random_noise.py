"""Random noise: normal, of the width that is declared, each image's own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

GREY = torch.full((2, 3, 64, 64), 0.5)


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, [*ids])


@pytest.mark.parametrize("sigma", RandomNoise.parameter_values)
def test_what_is_added_is_normal_noise_of_that_width(sigma: float) -> None:
    added = (RandomNoise(sigma=sigma).purify(GREY, streams=streams_of("ab")) - GREY).double().flatten()
    assert scipy.stats.kstest(added.numpy() / sigma, "norm").pvalue > 1e-3
    assert float(added.mean()) == pytest.approx(0, abs=4 * sigma / len(added) ** 0.5)


def test_it_is_the_streams_own_noise_clipped_to_the_range(grain: Tensor) -> None:
    purified = RandomNoise(sigma=0.1).purify(grain, streams=streams_of("ab"))
    drawn = streams_of("ab").normal(3, 37, 52)
    assert torch.equal(purified, (grain + 0.1 * drawn).clamp(0, 1))
    assert (float(purified.min()), float(purified.max())) == (0, 1)


def test_each_image_has_noise_of_its_own_whatever_its_company() -> None:
    defense = RandomNoise()
    both = defense.purify(GREY, streams=streams_of("ab"))
    assert not torch.equal(both[0], both[1])
    assert torch.equal(defense.purify(GREY, streams=streams_of("ba")), both.flip(0))
    assert torch.equal(defense.purify(GREY[:1], streams=streams_of("b"))[0], both[1])


def test_the_gradient_passes_except_where_it_is_clipped(grain: Tensor) -> None:
    leaf = grain.clone().requires_grad_(True)
    purified = RandomNoise(sigma=0.1).purify(leaf, streams=streams_of("ab"))
    purified.sum().backward()
    assert leaf.grad is not None
    inside = (purified > 0) & (purified < 1)
    assert torch.equal(leaf.grad, inside.float())


@pytest.mark.parametrize("sigma", [0, -0.1, np.nan])
def test_a_width_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match="sigma > 0"):
        RandomNoise(sigma=sigma)


def test_without_streams_it_says_what_it_needs(grain: Tensor) -> None:
    with pytest.raises(ConfigurationError, match="random-noise draws random numbers and needs `streams`"):
        RandomNoise().purify(grain)
