"""Planted metrics are what they are said to be: exactly as vulnerable, as robust, or as degenerate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from iqa_robustness import datasets, metrics
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.attacks.square import Square
from iqa_robustness.datasets.base import view
from iqa_robustness.metrics.planted import (
    Clamped,
    Constant,
    MaskedGradient,
    Robust,
    Rounded,
    Vulnerable,
    VulnerableToPixels,
)
from iqa_robustness.metrics.scoring import Scorer

ALL = (Vulnerable, VulnerableToPixels, Robust, Constant, Rounded, Clamped, MaskedGradient)
FIRST_ROWS = [[1, -1, -1, -1, 1, 1, -1, -1], [1, 1, 1, -1, 1, -1, -1, 1], [-1, 1, 1, 1, -1, -1, 1, -1]]
SIZES = [(48, 64), (8, 8), (33, 47), (224, 224), (9, 300)]


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Ten pictures of the bundled data set, in all quality levels."""
    return view(datasets.load("mini"), count=10, size=(48, 64)).batch(range(10))


def greys(count: int, size: tuple[int, int], *, low: int = 60, high: int = 196) -> Tensor:
    levels = np.random.RandomState(size[0]).randint(low, high, (count, 3, *size))
    return torch.from_numpy(levels.astype(np.float32)).div(255)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", SIZES)
def test_one_finite_score_an_image_at_any_size(kind: type[metrics.base.Metric], size: tuple[int, int]) -> None:
    scores = kind()(greys(3, size))
    assert scores.shape == (3,)
    assert torch.isfinite(scores).all()
    assert kind.spec.name.startswith("planted-")


def test_none_of_them_is_registered() -> None:
    targets = {entry.target.partition(":")[0] for entry in metrics.list()}
    assert "iqa_robustness.metrics.planted" not in targets


# --- vulnerable -----------------------------------------------------------------------------------------------------


def weights_of(size: tuple[int, int]) -> Tensor:
    """∂f/∂x, by autograd."""
    leaf = torch.full((1, 3, *size), 0.5, requires_grad=True)
    return torch.autograd.grad(Vulnerable()(leaf).sum(), leaf)[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_the_largest_shift_within_epsilon_is_the_declared_one(size: tuple[int, int], levels: int) -> None:
    metric, images, epsilon = Vulnerable(), greys(2, size), levels / 255
    best = metric(images + epsilon * weights_of(size).sign())
    shift = (best - metric(images)) / metric.spec.diam
    expected = metric.slope * epsilon
    assert shift.tolist() == pytest.approx([expected] * 2, rel=2e-3)
    assert expected == pytest.approx(levels / 8)
    # Linear: no perturbation of this size does more, for its share of each value is fixed and equal.
    assert torch.allclose(weights_of(size).abs(), torch.tensor(100 * metric.slope / (3 * size[0] * size[1])))
    assert torch.allclose(
        metric(images - epsilon * weights_of(size).sign()) - metric(images), -(best - metric(images)), atol=0.05
    )


def test_its_weights_are_a_fixed_grid_of_blocks_in_each_channel() -> None:
    signs = weights_of((48, 64))[0].sign()
    blocks = signs.view(3, 6, 8, 8, 8)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    assert torch.equal(signs[:, ::8, ::8], Vulnerable().signs[0])
    assert 0.3 < float((signs > 0).float().mean()) < 0.7
    # Frozen: records of every attack rest on them.
    assert Vulnerable().signs[0, :, 0].int().tolist() == FIRST_ROWS


@pytest.mark.parametrize("attack", [IFGSM(), Square(queries=200)])
@pytest.mark.parametrize("goal", [None, LOWER])
def test_attacks_that_work_move_it_far(photographs: Tensor, attack: object, goal: object) -> None:
    result = attack(Vulnerable(), photographs[:3], **({} if goal is None else {"goal": goal}))
    gains = 100 * (result.values - result.clean_values)
    assert (gains > 10).all()
    assert (gains <= 50.001).all()


# --- robust ---------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), levels=st.integers(0, 30), contrast=st.integers(1, 127), kind=st.integers(0, 2))
@settings(deadline=None, max_examples=100)
def test_no_perturbation_moves_the_robust_score_by_more_than_its_size_allows(
    seed: int, levels: int, contrast: int, kind: int
) -> None:
    random = np.random.RandomState(seed)
    images = torch.from_numpy(random.randint(128 - contrast, 128 + contrast, (1, 3, 12, 16)).astype(np.float32)) / 255
    epsilon = levels / 255
    leaf = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(Robust()(leaf).sum(), leaf)
    direction = (
        torch.from_numpy(random.uniform(-1, 1, images.shape).astype(np.float32)),
        torch.from_numpy(random.choice([-1.0, 1.0], images.shape).astype(np.float32)),
        gradient.sign(),
    )[kind]
    moved = (images + epsilon * direction).clamp(0, 1)
    assert abs(float(Robust()(moved) - Robust()(images))) <= 200 * epsilon + 1e-3


def test_the_constant_is_tight() -> None:
    halves = torch.full((1, 3, 12, 16), 0.25)
    halves[..., 8:] = 0.75
    epsilon = 8 / 255
    outwards = torch.where(halves > 0.5, epsilon, -epsilon)
    gain = float(Robust()(halves + outwards) - Robust()(halves))
    assert gain == pytest.approx(200 * epsilon, rel=1e-4)
    assert 100 * gain / Robust.spec.diam == pytest.approx(10.46, abs=0.01)


def test_its_gradient_is_finite_on_a_flat_image_and_not_zero_on_another() -> None:
    images = torch.cat([torch.full((1, 3, 12, 16), 0.5), greys(1, (12, 16))])
    scores, gradients = Scorer(metric=Robust(), micro_batch=2).scores_and_gradients(images)
    assert float(scores[0]) < 1e-3
    assert torch.isfinite(gradients).all()
    assert gradients[1].any()


def test_it_ranks_the_ladder_of_contrasts_perfectly() -> None:
    chosen = view(datasets.load("ladder"), count=25, size=(384, 512))
    scores = Robust()(chosen.batch(range(25)))
    assert spearmanr(scores, [item.mos for item in chosen.items]).statistic > 0.9999
    low, high = Robust.spec.score_range
    assert low < float(scores.min()) < float(scores.max()) < high


# --- degenerate -----------------------------------------------------------------------------------------------------


def test_the_constant_score_has_no_slope_and_no_spread(photographs: Tensor) -> None:
    scores, gradients = Scorer(metric=Constant(), micro_batch=5).scores_and_gradients(photographs)
    assert set(scores.tolist()) == {50.0}
    assert not gradients.any()


def test_the_rounded_score_has_few_values_and_no_slope(photographs: Tensor) -> None:
    scores, gradients = Scorer(metric=Rounded(), micro_batch=5).scores_and_gradients(photographs)
    assert 1 < len(scores.unique()) <= 5
    assert torch.equal(scores, (scores / 12).round() * 12)
    assert not gradients.any()
    assert (scores - Robust()(photographs)).abs().max() <= 6.001


def test_the_clamped_score_cannot_be_raised_on_most_images(photographs: Tensor) -> None:
    scores = Clamped()(photographs)
    assert float(scores.max()) == 10.0
    assert (scores == 10.0).float().mean() >= 0.8
    result = IFGSM()(Clamped(), photographs)
    assert (result.values == result.clean_values).float().mean() >= 0.8


def test_the_masked_gradient_is_zero_and_finite_while_the_score_is_the_vulnerable_one(photographs: Tensor) -> None:
    scores, gradients = Scorer(metric=MaskedGradient(), micro_batch=5).scores_and_gradients(photographs)
    assert torch.equal(scores, Vulnerable()(photographs))
    assert not gradients.any()
    assert torch.isfinite(gradients).all()
    # Queries still answer.
    assert Square(queries=50)(MaskedGradient(), photographs[:2]).responded.all()


@pytest.mark.parametrize("size", [(48, 64), (192, 256)])
def test_one_pixel_moves_the_sum_alike_in_small_and_large_images(size: tuple[int, int]) -> None:
    metric, images = VulnerableToPixels(), greys(1, size)
    moved = images.clone()
    moved[0, :, -1, -1] = (Vulnerable().signs[0, :, -1, -1] > 0).float()
    by = (moved - images)[0, :, -1, -1].abs().sum()
    assert float(metric(moved) - metric(images)) == pytest.approx(float(100 * 0.02 * by), abs=0.02)
