"""FGSM: one step of epsilon along the signs, at the cost of one gradient."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.fgsm import FGSM
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.errors import ConfigurationError

STRENGTHS = {"weak": 2, "medium": 4, "strong": 8}


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


@pytest.mark.parametrize(("strength", "reached"), STRENGTHS.items())
@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_every_pixel_moves_by_epsilon_the_way_the_goal_and_the_direction_say(
    toys: SimpleNamespace, goal: object, higher_is_better: bool, strength: str, reached: int
) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    metric = toys.Linear(weights, higher_is_better=higher_is_better)
    result = attacks.create("fgsm", strength=strength)(metric, clean, goal=goal)
    towards = (1 if goal is RAISE else -1) * (1 if higher_is_better else -1)
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(reached * towards * np.sign(weights.numpy()).astype(int), moved.shape))


@given(epsilon=st.floats(0, 20).map(lambda level: level / 255), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_it_is_the_sign_formula_for_any_epsilon(toys: SimpleNamespace, epsilon: float, seed: int) -> None:
    clean, weights = toys.pictures(2, 4, 5, seed=seed, low=0, high=256), toys.gaussian(4, 5, seed=seed)
    result = FGSM(epsilon=epsilon)(toys.Linear(weights), clean)
    whole = np.floor(epsilon * 255 + 5e-4)
    wished = np.rint(levels(clean) + np.float64(epsilon) * 255 * np.sign(weights.numpy()))
    expected = np.clip(wished, levels(clean) - whole, levels(clean) + whole).clip(0, 255)
    away = np.abs(levels(result.images) - expected)
    # Half a level is rounded either way by float32.
    assert away[:, np.abs((epsilon * 255) % 1 - 0.5) * np.ones(weights.shape) > 1e-3].max(initial=0) == 0


def test_the_gradient_is_taken_at_the_clean_image_and_nowhere_else(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    FGSM()(metric, clean)
    taken = [batch[:2] for batch, mode in zip(metric.batches, metric.modes, strict=True) if mode == "gradient"]
    assert len(taken) == 1
    assert torch.equal(taken[0], clean)


def test_the_cost_is_one_gradient_and_one_check(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    result = FGSM()(metric, toys.pictures(3))
    assert result.forwards.tolist() == [2, 2, 2]
    assert result.backwards.tolist() == [1, 1, 1]
    assert metric.rows == 6


def test_a_step_that_overshoots_leaves_the_clean_image_unless_it_is_the_published_code(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    hill = toys.Quadratic(torch.ones(3, 8, 9), clean[0] + 1 / 255)
    ours, published = FGSM()(hill, clean), FGSM(paper=True)(hill, clean)
    assert torch.equal(ours.images, clean)
    assert ours.forwards.tolist() == [2]  # the clean image's score is known from the gradient
    assert np.array_equal(levels(published.images), levels(clean) + 4)
    assert float(published.values) < float(published.clean_values)


def test_a_target_may_be_nearer_than_a_step(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    here = float(clean.mean())
    for away, reached in ((4, 4), (-4, -4), (1, 0)):
        result = FGSM()(metric, clean, goal=Towards(score=here + away / 255, tolerance=1e-4))
        assert set(np.unique(levels(result.images) - levels(clean))) == {reached}


@pytest.mark.parametrize("epsilon", [-0.1, 4.0, float("nan")])
def test_an_impossible_epsilon_is_refused_when_the_attack_is_made(epsilon: float) -> None:
    with pytest.raises(ConfigurationError):
        FGSM(epsilon=epsilon)
