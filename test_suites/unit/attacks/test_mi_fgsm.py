"""MI-FGSM: momentum of l1-normalised gradients, against NumPy and against I-FGSM."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.mi_fgsm import MIFGSM
from iqa_robustness.attacks.objectives import LOWER, Towards
from iqa_robustness.errors import ConfigurationError

STRENGTHS = {"weak": 2, "medium": 4, "strong": 8}
# A small hill whose top is about two levels away: gradients change their signs and lengths, so that momentum shows.
NEAR = {"epsilon": 5.3 / 255, "steps": 9}


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def iterates(
    clean: np.ndarray,
    slope: Callable[[np.ndarray], np.ndarray],
    *,
    epsilon: float,
    steps: int,
    decay: float,
    normalized: bool,
) -> list[np.ndarray]:
    """Alg. 1 of the paper in NumPy, one image, float64: the clean image and what every step leads to."""
    current, momentum, seen = clean, np.zeros_like(clean), [clean]
    for _ in range(steps):
        gradient = slope(current)
        momentum = decay * momentum + (gradient / np.abs(gradient).sum() if normalized else gradient)
        moved = current + epsilon / steps * np.sign(momentum)
        current = np.clip(moved, np.maximum(clean - epsilon, 0), np.minimum(clean + epsilon, 1))
        seen.append(current)
    return seen


def hill(toys: SimpleNamespace, clean: torch.Tensor, seed: int) -> torch.nn.Module:
    top = clean[0] + toys.gaussian(6, 7, seed=seed, scale=3 / 255)
    return toys.Quadratic(toys.gaussian(6, 7, seed=seed + 50).abs() + 0.002, top)


def visited(metric: torch.nn.Module, count: int) -> np.ndarray:
    """(steps, count, 3, H, W): where gradients were taken."""
    batches = zip(metric.batches, metric.modes, strict=True)
    return np.stack([batch[:count].numpy() for batch, mode in batches if mode == "gradient"])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("paper", [False, True])
def test_the_search_follows_the_papers_algorithm_or_the_published_code(
    toys: SimpleNamespace, paper: bool, decay: float, seed: int
) -> None:
    clean = toys.pictures(2, 6, 7, seed=seed, low=0, high=256)
    metric = hill(toys, clean, seed)
    result = MIFGSM(decay=decay, paper=paper, **NEAR)(metric, clean)
    w, c = metric.weights.double().numpy(), metric.centre.double().numpy()
    for row in range(2):
        grid = levels(clean)[row] / 255
        expected = iterates(grid, lambda x: -2 * w * (x - c), decay=decay, normalized=not paper, **NEAR)
        found = visited(metric, 2)[:, row]
        # Single pixels may sit on a sign change, where float32 and float64 part.
        assert (np.abs(found - expected[:-1]) > 1e-5).mean() < 0.01
        if paper:
            assert (levels(result.images)[row] != np.rint(expected[-1] * 255)).mean() < 0.02


def test_dividing_by_the_l1_norm_makes_a_difference(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 6, 7)
    ours, published = hill(toys, clean, 0), hill(toys, clean, 0)
    MIFGSM(**NEAR)(ours, clean)
    MIFGSM(paper=True, **NEAR)(published, clean)
    assert not np.array_equal(visited(ours, 2), visited(published, 2))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_the_score_does_not_matter(toys: SimpleNamespace, factor: float) -> None:
    clean = toys.pictures(2, 6, 7)
    metric = hill(toys, clean, 1)
    other = toys.Quadratic(metric.weights * factor, metric.centre, score_range=(0.0, factor))
    assert torch.equal(MIFGSM(**NEAR)(metric, clean).images, MIFGSM(**NEAR)(other, clean).images)


@given(seed=st.integers(0, 50), steps=st.integers(1, 8), epsilon=st.floats(0.3, 12).map(lambda level: level / 255))
@settings(deadline=None, max_examples=25)
def test_without_memory_it_is_the_iterated_sign_attack(
    toys: SimpleNamespace, seed: int, steps: int, epsilon: float
) -> None:
    clean = toys.pictures(2, 6, 7, seed=seed, low=0, high=256)
    metric = hill(toys, clean, seed)
    forgetful = MIFGSM(epsilon=epsilon, steps=steps, decay=0.0)(metric, clean)
    signs = IFGSM(epsilon=epsilon, steps=steps, alpha=epsilon / steps)(metric, clean)
    assert torch.equal(forgetful.images, signs.images)
    assert torch.equal(forgetful.forwards, signs.forwards)


@pytest.mark.parametrize(("strength", "reached"), STRENGTHS.items())
@pytest.mark.parametrize("goal", [None, LOWER])
def test_the_strengths_are_two_four_and_eight_whole_levels(
    toys: SimpleNamespace, strength: str, reached: int, goal: object
) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    options = {} if goal is None else {"goal": goal}
    result = attacks.create("mi-fgsm", strength=strength)(toys.Linear(weights), clean, **options)
    towards = 1 if goal is None else -1
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(reached * towards * np.sign(weights.numpy()).astype(int), moved.shape))


def test_an_own_step_may_reach_the_border_early_and_never_leaves_it(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=0, high=256)
    metric = toys.Linear(toys.gaussian())
    MIFGSM(epsilon=4 / 255, alpha=3 / 255, steps=6)(metric, clean)
    away = np.abs(visited(metric, 2) - clean.numpy()).max(axis=(1, 2, 3, 4)) * 255
    assert away == pytest.approx([0, 3, 4, 4, 4, 4], abs=1e-3)


def test_the_cost_is_one_forward_and_one_backward_a_step_and_the_final_check(toys: SimpleNamespace) -> None:
    for steps in (1, 10):
        metric = toys.Linear(toys.gaussian())
        result = MIFGSM(steps=steps)(metric, toys.pictures(3))
        assert set(result.backwards.tolist()) == {steps}
        assert set(result.forwards.tolist()) <= {steps + 1, steps + 2}
        assert metric.rows == int(result.forwards.sum())


def test_an_image_that_reaches_its_target_stops_and_the_others_go_on(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 2 / 255, tolerance=0.1 / 255)
    result = MIFGSM(epsilon=8 / 255, steps=8)(metric, clean, goal=goal)
    assert np.array_equal(
        levels(result.images) - levels(clean), np.array([2, -8])[:, None, None, None] + 0 * levels(clean)
    )
    assert result.backwards.tolist() == [3, 8]


def test_a_flat_score_leaves_the_image_alone_and_is_flagged(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    result = MIFGSM()(toys.Linear(torch.zeros(3, 8, 9), offset=0.5), clean)
    assert torch.equal(result.images, clean)
    assert not result.gradient_nonzero.any()


@pytest.mark.parametrize(
    "parameters",
    [{"steps": 0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"decay": -1.0}, {"decay": float("nan")}, {"epsilon": 4.0}],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        MIFGSM(**parameters)
