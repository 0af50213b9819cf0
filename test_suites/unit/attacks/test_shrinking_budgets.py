"""Budgets that shrink a whole change (l2, PSNR, SSIM) and the one of a few pixels, against NumPy and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from iqa_robustness.attacks.projections import L2, Budget, Linf, Pixels, Psnr, Ssim
from iqa_robustness.errors import ConfigurationError

SHAPE = (2, 3, 8, 9)
LEVELS = st.one_of(st.sampled_from([0, 1, 254, 255]), st.integers(0, 255))
CLEAN = hnp.arrays(np.uint8, SHAPE, elements=LEVELS, fill=LEVELS)
VALUES = st.one_of(st.floats(-2, 3, width=32), st.sampled_from([-math.inf, math.inf]).map(np.float32))
WISHES = hnp.arrays(np.float32, SHAPE, elements=VALUES, fill=VALUES)
BUDGETS = st.one_of(
    st.sampled_from([0.0, 0.01, 0.5, 3.0, 100.0]).map(lambda epsilon: L2(epsilon=epsilon)),
    st.sampled_from([5.0, 20.0, 30.0, 48.0, 60.0]).map(lambda least: Psnr(least=least)),
    st.sampled_from([0.1, 0.75, 0.9, 0.99, 1.0]).map(lambda least: Ssim(least=least)),
    st.sampled_from([0, 1, 5, 71, 72, 100]).map(lambda count: Pixels(count=count)),
)


def images(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels.astype(np.float32) / np.float32(255))


def levels_of(pictures: Tensor) -> np.ndarray:
    return np.rint(pictures.numpy().astype(np.float64) * 255)


def excess(budget: Budget, levels: np.ndarray, clean: np.ndarray) -> float:
    """By how much one image (3, H, W) leaves the budget, by other people's code; at most 0 inside."""
    change = (levels - clean.astype(np.float64)) / 255
    if isinstance(budget, L2):
        return float(np.linalg.norm(change)) - budget.epsilon
    if isinstance(budget, Pixels):
        return float(np.count_nonzero(change.any(axis=0))) - budget.count
    if not change.any():
        return 0.0
    if isinstance(budget, Psnr):
        return budget.least - float(peak_signal_noise_ratio(clean.astype(float), levels, data_range=255))
    assert isinstance(budget, Ssim)
    found = structural_similarity(clean / 255, levels / 255, channel_axis=0, data_range=1)
    return budget.least - float(found)


@given(clean=CLEAN, wish=WISHES, budget=BUDGETS)
def test_whatever_is_asked_for_is_admitted_on_the_grid_and_within_the_limit(
    clean: np.ndarray, wish: np.ndarray, budget: Budget
) -> None:
    original = images(clean)
    admitted = budget.admit(torch.from_numpy(wish), original)
    levels = levels_of(admitted)
    assert torch.equal(admitted, images(levels))
    assert 0 <= levels.min() <= levels.max() <= 255
    assert all(excess(budget, *pair) <= 1e-3 for pair in zip(levels, clean, strict=True))
    assert not budget.violations(admitted, original).any()
    assert torch.equal(budget.admit(admitted, original), admitted)


@given(clean=CLEAN, wish=WISHES, budget=BUDGETS)
def test_a_projection_is_allowed_and_in_range_and_an_allowed_image_stays(
    clean: np.ndarray, wish: np.ndarray, budget: Budget
) -> None:
    original = images(clean)
    projected = budget.project(torch.from_numpy(np.clip(wish, -9, 9)), original)
    assert not budget.violations(projected, original).any()
    assert 0 <= float(projected.min()) <= float(projected.max()) <= 1
    assert torch.allclose(budget.project(projected, original), projected, atol=1e-5)
    assert torch.equal(budget.project(original, original), original)


@given(clean=CLEAN, wish=WISHES, budget=BUDGETS, order=st.permutations([0, 1]))
def test_an_image_is_admitted_alike_in_any_company(
    clean: np.ndarray, wish: np.ndarray, budget: Budget, order: list[int]
) -> None:
    original, wished = images(clean), torch.from_numpy(wish)
    together = budget.admit(wished, original)
    assert torch.equal(budget.admit(wished[order], original[order]), together[order])
    assert torch.equal(budget.admit(wished[1:], original[1:]), together[1:])


def photograph() -> Tensor:
    rows, columns = np.mgrid[:48, :64]
    base = 128 + 60 * np.sin(rows / 5) + 40 * np.cos(columns / 7)
    return images(np.round(np.stack([base, base[::-1], 255 - base]))[None])


@pytest.mark.parametrize(
    ("budget", "share"), [(L2(epsilon=4.0), 0.99), (Psnr(least=35), 0.99), (Ssim(least=0.85), 0.97)]
)
def test_nearly_all_of_the_budget_is_used_when_more_is_wished(budget: Budget, share: float) -> None:
    clean = photograph()
    noise = torch.from_numpy(np.random.RandomState(0).uniform(-0.5, 0.5, clean.shape).astype(np.float32))
    for found in (budget.project(clean + noise, clean), budget.admit(clean + noise, clean)):
        assert share * budget.limit <= float(budget.size(found, clean)) <= budget.limit + 1e-6


def test_within_the_ball_the_change_keeps_its_direction() -> None:
    clean = torch.full(SHAPE, 128 / 255)
    wish = clean + torch.linspace(-0.4, 0.4, clean.numel()).view(SHAPE)
    found = L2(epsilon=0.5).project(wish, clean) - clean
    expected = (wish - clean)[0] * 0.5 / float(np.linalg.norm((wish - clean)[0].numpy()))
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_the_pixels_kept_are_those_with_the_largest_changes_the_first_of_equal_ones() -> None:
    clean = torch.zeros(1, 3, 4, 5)
    wish = clean.clone()
    wish[0, 0, 0, 0], wish[0, :, 1, 1], wish[0, 2, 3, 4], wish[0, 1, 2, 2] = 0.6, 0.4, 0.6, 0.1
    kept = Pixels(count=2).admit(wish, clean)
    assert kept.flatten(2).any(dim=1)[0].nonzero().flatten().tolist() == [0, 6]  # 3 · 0.4² > 0.6² > 0.1²
    assert torch.equal(Pixels(count=3).project(wish, clean).ne(0), wish.gt(0.2))


def test_without_images_there_is_nothing_to_do() -> None:
    none = torch.empty(0, 3, 8, 8)
    for budget in (L2(epsilon=1.0), Psnr(least=30), Ssim(least=0.9), Pixels(count=2), Linf(epsilon=0.1)):
        assert budget.admit(none, none).shape == budget.project(none, none).shape == (0, 3, 8, 8)
        assert budget.violations(none, none).shape == (0,)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (L2, "epsilon", -0.1),
        (L2, "epsilon", math.inf),
        (Psnr, "least", 0.0),
        (Psnr, "least", math.nan),
        (Ssim, "least", 0.0),
        (Ssim, "least", 1.1),
        (Pixels, "count", -1),
    ],
)
def test_a_budget_that_cannot_be_is_refused(kind: type[Budget], field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match="must"):
        kind(**{field: value})
