"""SSAH: the low band against a Haar transform by matrices, and what the penalty does to low and high frequencies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iqa_robustness import attacks
from iqa_robustness.attacks.ssah import SSAH, low_frequencies
from iqa_robustness.errors import ConfigurationError


def haar(length: int) -> np.ndarray:
    """The low half of the orthonormal one-level Haar transform, (length / 2, length)."""
    matrix = np.zeros((length // 2, length))
    for row in range(length // 2):
        matrix[row, 2 * row : 2 * row + 2] = np.sqrt(0.5)
    return matrix


def block_sums(low: bool, height: int = 16, width: int = 20) -> torch.Tensor:
    """Weights ±0.01: equal within each 2 × 2 block, or alternating within it."""
    if low:
        signs = torch.randint(0, 2, (3, height // 2, width // 2), generator=torch.Generator().manual_seed(1)) * 2 - 1
        return 0.01 * signs.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).float()
    return 0.01 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(3, height // 2, width // 2)


def test_the_low_band_is_that_of_the_haar_transform(toys: SimpleNamespace) -> None:
    images = toys.pictures(2, 12, 14)
    down, across = haar(12), haar(14)
    expected = down.T @ down @ images.double().numpy() @ across.T @ across
    assert low_frequencies(images).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(12, 14), (13, 14), (13, 15), (1, 1)])
def test_it_is_a_symmetric_projection_at_every_size(toys: SimpleNamespace, size: tuple[int, int]) -> None:
    first, second = toys.pictures(2, *size) - 0.5, toys.pictures(2, *size, seed=3) - 0.5
    once = low_frequencies(first)
    assert once.shape == first.shape
    assert torch.allclose(low_frequencies(once), once, atol=1e-6)
    assert float((once * second).sum()) == pytest.approx(float((first * low_frequencies(second)).sum()), rel=1e-4)
    assert torch.equal(low_frequencies(first[1:]), once[1:])


def test_what_alternates_is_free_and_what_is_smooth_is_held_back(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 20)
    free, held = (SSAH(epsilon=8 / 255)(toys.Linear(block_sums(low)), clean) for low in (False, True))
    assert torch.equal(((free.images - clean) * 255).round().abs(), torch.full_like(clean, 8))
    change = 255 * (held.images - clean).abs()
    assert float(change.mean()) < 7.5
    assert float(change.mean()) > 3.5  # the penalty balances the gradient at half of the budget
    unpenalised = SSAH(epsilon=8 / 255, weight=0.0)(toys.Linear(block_sums(True)), clean)
    assert torch.equal(((unpenalised.images - clean) * 255).round().abs(), torch.full_like(clean, 8))


def test_a_heavier_penalty_leaves_less_in_the_low_band(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 16, 20), toys.Linear(toys.gaussian(16, 20))
    shares = []
    for weight in (0.0, 2.0, 10.0):
        change = SSAH(epsilon=8 / 255, weight=weight)(metric, clean).images - clean
        shares.append(float(low_frequencies(change).square().sum() / change.square().sum()))
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize("scale", [1e-6, 1e-2])
def test_the_trade_does_not_depend_on_the_scale_of_the_score(toys: SimpleNamespace, scale: float) -> None:
    clean, weights = toys.pictures(2, 16, 20), toys.gaussian(16, 20)
    expected = SSAH()(toys.Linear(weights, score_range=(0.0, 1.0)), clean).images
    found = SSAH()(toys.Linear(weights * scale, score_range=(0.0, 1.0)), clean).images
    assert float(((found - expected).abs() > 0.1 / 255).float().mean()) < 0.01


def test_paper_has_the_published_weight_which_decides_alone_over_a_small_gradient(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(1, 16, 20), block_sums(True)
    small, large = (
        SSAH(epsilon=8 / 255, paper=True)(toys.Linear(weights * scale, score_range=(0.0, 1.0)), clean)
        for scale in (0.001, 10.0)
    )
    change = [float((255 * (result.images - clean)).abs().mean()) for result in (small, large)]
    assert change[0] < 2
    assert change[1] == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("strength", ["weak", "medium", "strong"])
def test_the_cost_is_ten_gradients_and_the_check(toys: SimpleNamespace, strength: str) -> None:
    result = attacks.create("ssah", strength=strength)(toys.Linear(toys.gaussian()), toys.pictures(2))
    assert result.backwards.tolist() == [10, 10]
    assert set(result.forwards.tolist()) <= {11, 12}


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"weight": -1.0}, {"epsilon": 0.0}, {"epsilon": 4.0}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        SSAH(**parameters)
