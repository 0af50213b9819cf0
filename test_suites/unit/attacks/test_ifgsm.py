"""I-FGSM: against closed forms, an independent NumPy implementation, and its declared cost."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.objectives import LOWER, Towards
from iqa_robustness.errors import ConfigurationError

STRENGTHS = {"weak": 2, "medium": 4, "strong": 8}


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def reference(
    clean: np.ndarray, slope: object, value: object, *, alpha: float, steps: int, epsilon: float
) -> np.ndarray:
    """I-FGSM in NumPy (float64), with the harness' rule of the best rounded image; (N, 3, H, W) levels."""
    grid = np.rint(clean * 255)
    current, seen = clean.copy(), []
    for _ in range(steps):
        seen.append(current)
        moved = current + alpha * np.sign(slope(current))
        current = np.clip(moved, np.maximum(clean - epsilon, 0), np.minimum(clean + epsilon, 1))
    float_values = np.stack([value(iterate) for iterate in seen])
    best_iterate = np.stack([seen[row][image] for image, row in enumerate(float_values.argmax(axis=0))])
    reach = np.floor(epsilon * 255 + 5e-4)
    rounded = [np.clip(np.rint(x * 255), grid - reach, grid + reach).clip(0, 255) for x in (current, best_iterate)]
    candidates = [grid, *rounded]
    values = np.stack([value(candidate / 255) for candidate in candidates])
    values[2] = np.where(float_values.max(axis=0) > values[1], values[2], -np.inf)
    return np.stack([candidates[row][image] for image, row in enumerate(values.argmax(axis=0))]).astype(int)


@pytest.mark.parametrize("epsilon_levels", [2, 4, 8])
def test_a_linear_metric_is_driven_to_its_closed_form_optimum(toys: SimpleNamespace, epsilon_levels: int) -> None:
    clean = toys.pictures(4, 32, 32)
    weights = toys.gaussian(32, 32)
    metric = toys.Linear(weights)
    epsilon = epsilon_levels / 255
    result = IFGSM(alpha=epsilon / 10, epsilon=epsilon)(metric, clean)
    optimum = epsilon * float(weights.double().abs().sum())
    gains = (result.values - result.clean_values).double()
    assert (gains >= 0.99 * optimum).all()
    assert (gains <= (1 + 1e-4) * optimum).all()
    assert np.abs(levels(result.images) - levels(clean)).max() == epsilon_levels


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("goal", [None, LOWER])
def test_every_pixel_moves_the_way_the_goal_and_the_direction_say(
    toys: SimpleNamespace, higher_is_better: bool, goal: object
) -> None:
    clean, weights = toys.pictures(2), toys.gaussian()
    options = {} if goal is None else {"goal": goal}
    result = IFGSM()(toys.Linear(weights, higher_is_better=higher_is_better), clean, **options)
    towards = (1 if goal is None else -1) * (1 if higher_is_better else -1)
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(4 * towards * np.sign(weights.numpy()).astype(int), moved.shape))


@pytest.mark.parametrize(("strength", "reached"), STRENGTHS.items())
def test_the_strengths_are_two_four_and_eight_whole_levels(toys: SimpleNamespace, strength: str, reached: int) -> None:
    attack = attacks.create("ifgsm", strength=strength)
    clean = toys.pictures(2)
    result = attack(toys.Linear(toys.gaussian()), clean)
    assert set(np.unique(np.abs(levels(result.images) - levels(clean)))) == {reached}
    assert attack.budget.limit == pytest.approx(reached / 255, rel=1e-9)


@given(
    alpha=st.floats(0.05, 3).map(lambda level: level / 255),
    steps=st.integers(1, 12),
    epsilon=st.one_of(st.none(), st.floats(0, 12).map(lambda level: level / 255)),
    paper=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_no_parameters_leave_steps_times_alpha_or_the_budget(
    toys: SimpleNamespace, alpha: float, steps: int, epsilon: float | None, paper: bool
) -> None:
    clean = toys.pictures(2, 4, 5, low=0, high=256)
    attack = IFGSM(alpha=alpha, steps=steps, epsilon=epsilon, paper=paper)
    result = attack(toys.Linear(toys.gaussian(4, 5)), clean)
    change = np.abs(levels(result.images) - levels(clean)).max()
    # Rounding may add half a level to the path, never to the budget.
    assert change <= 255 * steps * alpha + 0.5 + 1e-3
    assert change <= 255 * attack.budget.limit + 1e-3
    assert attack.budget.limit <= (epsilon if epsilon is not None else 10 / 255)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", ["linear", "quadratic", "narrow"])
def test_it_agrees_with_an_independent_implementation(toys: SimpleNamespace, shape: str, seed: int) -> None:
    clean = toys.pictures(3, 6, 7, seed=seed, low=0, high=256)
    grid = levels(clean) / 255
    weights = toys.gaussian(6, 7, seed=seed + 50).abs() + 0.002
    parameters = {"alpha": 0.7 / 255, "steps": 9, "epsilon": 5.3 / 255}
    if shape == "linear":
        signed = toys.gaussian(6, 7, seed=seed)
        metric, w = toys.Linear(signed), signed.double().numpy()
        slope, value = (lambda x: np.broadcast_to(w, x.shape)), (lambda x: (w * x).sum(axis=(1, 2, 3)))
    else:
        # Narrow: the top is about two levels away, so that the last iterate overshoots it.
        away = 0.3 if shape == "quadratic" else 1.9 / 255
        centre = clean[:1].mean() if shape == "quadratic" else clean[0]
        centre = torch.zeros(3, 6, 7) + centre + away * torch.where(toys.gaussian(6, 7, seed=seed) > 0, 1.0, -1.0)
        metric, w, c = toys.Quadratic(weights, centre), weights.double().numpy(), centre.double().numpy()
        slope, value = (lambda x: -2 * w * (x - c)), (lambda x: -(w * (x - c) ** 2).sum(axis=(1, 2, 3)))
    result = IFGSM(**parameters)(metric, clean)
    expected = reference(grid, slope, value, **parameters)
    differing = levels(result.images) != expected
    # Single pixels may sit on a sign change or half a level, where float32 and float64 part.
    assert differing.mean() < 0.02
    assert np.abs(value(levels(result.images) / 255) - value(expected / 255)).max() < 1e-4


def test_the_cost_is_one_forward_and_one_backward_a_step_and_the_final_check(toys: SimpleNamespace) -> None:
    for steps in (1, 10):
        metric = toys.Linear(toys.gaussian())
        result = IFGSM(steps=steps, alpha=4 / 255 / steps)(metric, toys.pictures(3))
        assert set(result.backwards.tolist()) == {steps}
        assert set(result.forwards.tolist()) <= {steps + 1, steps + 2}
        assert metric.modes.count("gradient") == steps
        assert metric.rows == int(result.forwards.sum())


def test_gradients_are_taken_inside_the_ball_and_the_range(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, low=0, high=256)
    metric = toys.Linear(toys.gaussian())
    IFGSM(alpha=2 / 255, steps=9, epsilon=5 / 255)(metric, clean)
    for batch, mode in zip(metric.batches, metric.modes, strict=True):
        assert mode == "query" or float((batch[:3] - clean).abs().max()) <= 5 / 255 + 1e-6
        assert float(batch.min()) >= 0
        assert float(batch.max()) <= 1


def test_on_a_linear_metric_the_trace_rises_evenly(toys: SimpleNamespace) -> None:
    trace = IFGSM()(toys.Linear(toys.gaussian()), toys.pictures(2)).trace
    steps = np.diff(trace)
    assert len(trace) == 10
    assert steps == pytest.approx(np.full(9, float(toys.gaussian().abs().sum()) * 0.4 / 255), rel=1e-3)


def test_paper_returns_the_last_iterate_and_bounds_by_ten_levels(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    hill = toys.Quadratic(torch.ones(3, 8, 9), clean[0] + 3 / 255)
    ours = IFGSM(alpha=2 / 255, steps=4, epsilon=10 / 255)(hill, clean)
    published = IFGSM(alpha=2 / 255, steps=3, paper=True)(hill, clean)
    assert IFGSM(paper=True).budget.limit == 10 / 255
    assert IFGSM(alpha=3 / 255, paper=False).budget.limit == 10 / 255
    # Steps of two levels around a top three levels away: 0, 2, 4, 2.
    assert np.abs(levels(published.images) - levels(clean)).max() == 2
    assert float(ours.values) >= float(published.values)


def test_an_image_that_reaches_its_target_stops_and_the_others_go_on(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 2 / 255, tolerance=0.1 / 255)
    result = IFGSM(alpha=1 / 255, steps=8)(metric, clean, goal=goal)
    assert [set(np.unique(moved)) for moved in levels(result.images) - levels(clean)] == [{2}, {-8}]
    assert result.backwards.tolist() == [3, 8]


def test_a_flat_score_leaves_the_image_alone_and_is_flagged(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    result = IFGSM()(toys.Linear(torch.zeros(3, 8, 9), offset=0.5), clean)
    assert torch.equal(result.images, clean)
    assert result.gradient_finite.all()
    assert not result.gradient_nonzero.any()
    assert not result.responded.any()


@pytest.mark.parametrize(
    "parameters",
    [{"steps": 0}, {"steps": -1}, {"alpha": 0.0}, {"alpha": -0.1}, {"alpha": float("nan")}, {"epsilon": 4.0}],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        IFGSM(**parameters)
