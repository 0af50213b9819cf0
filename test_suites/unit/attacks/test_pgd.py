"""PGD: random starts, steps that reach every corner, restarts that keep the best."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.attacks.pgd import PGD
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

STRENGTHS = {"weak": 2, "medium": 4, "strong": 8}
EPSILON = 4 / 255


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def visited(metric: torch.nn.Module, count: int) -> np.ndarray:
    """(steps, count, 3, H, W): where gradients were taken."""
    batches = zip(metric.batches, metric.modes, strict=True)
    return np.stack([batch[:count].numpy() for batch, mode in batches if mode == "gradient"])


def waves(images: Tensor) -> Tensor:
    """Every pixel has equal tops at even levels, and a narrow, higher one at 129."""
    level = images * 255
    return (torch.cos(math.pi * level) + 4 * torch.exp(-((level - 129) ** 2) / 0.3)).mean(dim=(1, 2, 3)) / 10


# --- starts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [0, 60])
def test_every_run_starts_at_a_uniform_point_of_the_ball(toys: SimpleNamespace, low: int) -> None:
    clean = toys.pictures(2, 24, 24, low=low, high=256 - low)
    metric = toys.Linear(toys.gaussian(24, 24))
    PGD(epsilon=EPSILON, steps=3, restarts=4)(metric, clean)
    starts = visited(metric, 2)[::3]
    assert len(starts) == 4
    assert len({start.tobytes() for start in starts}) == 4
    assert starts.min() >= 0
    assert starts.max() <= 1
    away = (starts - clean.numpy()) / EPSILON
    if low:  # nothing is cut off
        assert np.abs(away).max() <= 1 + 1e-5
        parts = np.histogram(away, bins=10, range=(-1, 1))[0] / away.size
        assert parts == pytest.approx(np.full(10, 0.1), abs=5 * math.sqrt(0.09 / away.size))


def test_a_start_is_drawn_from_the_images_own_stream(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    PGD(steps=1)(metric, clean, ids=["x", "y"], seed=3, key="cell")
    drawn = Streams("cell/3", ["x", "y"]).fork("attack").uniform(3, 8, 9)
    assert visited(metric, 2)[0] == pytest.approx((clean + EPSILON * (2 * drawn - 1)).numpy(), abs=1e-6)
    assert not torch.equal(drawn[0], drawn[1])


# --- steps ----------------------------------------------------------------------------------------------------------


@given(
    epsilon=st.floats(0.3, 12).map(lambda level: level / 255),
    alpha=st.one_of(st.none(), st.floats(0.05, 6).map(lambda level: level / 255)),
    steps=st.integers(1, 6),
    seed=st.integers(0, 20),
)
@settings(deadline=None, max_examples=40)
def test_each_step_is_the_sign_formula_from_the_last_point(
    toys: SimpleNamespace, epsilon: float, alpha: float | None, steps: int, seed: int
) -> None:
    clean = toys.pictures(2, 4, 5, seed=seed, low=0, high=256)
    metric = toys.Linear(toys.gaussian(4, 5, seed=seed))
    PGD(epsilon=epsilon, alpha=alpha, steps=steps)(metric, clean, seed=seed)
    points, signs = visited(metric, 2), np.sign(metric.weights.numpy())
    low, high = (np.clip(clean.numpy() + side * epsilon, 0, 1) for side in (-1, 1))
    stride = 2.5 * epsilon / steps if alpha is None else alpha
    for before, after in itertools.pairwise(points):
        assert after == pytest.approx(np.clip(before + stride * signs, low, high), abs=1e-6)


@pytest.mark.parametrize(("strength", "reached"), STRENGTHS.items())
@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_every_corner_is_reached_from_any_start(
    toys: SimpleNamespace, goal: object, strength: str, reached: int
) -> None:
    clean, weights = toys.pictures(3), toys.gaussian()
    result = attacks.create("pgd", strength=strength)(toys.Linear(weights), clean, goal=goal)
    towards = 1 if goal is RAISE else -1
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(reached * towards * np.sign(weights.numpy()).astype(int), moved.shape))


# --- restarts -------------------------------------------------------------------------------------------------------


def test_restarts_keep_the_best_of_all_runs(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, low=126, high=127)
    options = {"epsilon": 5 / 255, "alpha": 0.2 / 255, "steps": 6}
    best = [PGD(restarts=count, **options)(toys.Broken(waves), clean).values for count in (1, 2, 8)]
    assert (best[1] >= best[0]).all()
    assert (best[2] >= best[1]).all()
    assert float(best[2].mean()) > float(best[0].mean()) > 0.1 + 0.01  # 0.1: the clean image's own top


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (10, 1), (4, 3)])
def test_the_cost_is_a_gradient_a_step_and_a_query_a_run(toys: SimpleNamespace, steps: int, restarts: int) -> None:
    metric = toys.Linear(toys.gaussian())
    result = PGD(steps=steps, restarts=restarts)(metric, toys.pictures(3))
    assert set(result.backwards.tolist()) == {steps * restarts}
    # The runs' ends, the clean image, which no run starts from, and perhaps the best iterate.
    assert set(result.forwards.tolist()) <= {steps * restarts + restarts + 1, steps * restarts + restarts + 2}
    assert metric.rows == int(result.forwards.sum())


def test_the_published_code_returns_the_last_run_s_last_iterate(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=126, high=127)
    options = {"epsilon": 5 / 255, "alpha": 0.2 / 255, "steps": 6, "restarts": 4}
    metric = toys.Broken(waves)
    published = PGD(paper=True, **options)(metric, clean)
    last = visited(metric, 2)[-1]
    assert np.abs(published.images.numpy() - last).max() <= (0.2 + 0.5) / 255 + 1e-6
    assert (PGD(**options)(toys.Broken(waves), clean).values >= published.values).all()


def test_images_that_reach_a_target_stop_in_all_runs(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 2 / 255, tolerance=0.3 / 255)
    result = PGD(steps=8, restarts=3)(metric, clean, goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.backwards[0]) < 8
    assert int(result.backwards[1]) == 24


@pytest.mark.parametrize(
    "parameters",
    [{"steps": 0}, {"restarts": 0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"epsilon": 4.0}, {"epsilon": -1.0}],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        PGD(**parameters)
