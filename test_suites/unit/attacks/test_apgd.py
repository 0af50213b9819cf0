"""APGD: published checkpoints, an independent implementation of the algorithm, and what makes it itself."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.apgd import APGD, APGDL2, AutoPGD, checkpoints
from iqa_robustness.attacks.objectives import LOWER, RAISE, Towards
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

NORMS = [APGD, APGDL2]
EPSILON = 6 / 255
LEAST = 34.0


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def visited(metric: torch.nn.Module, count: int) -> np.ndarray:
    """(steps, count, 3, H, W): where gradients were taken."""
    batches = zip(metric.batches, metric.modes, strict=True)
    return np.stack([batch[:count].numpy() for batch, mode in batches if mode == "gradient"])


def made(kind: type[AutoPGD], **options: object) -> AutoPGD:
    return kind(**({"epsilon": EPSILON} if kind is APGD else {"least_psnr": LEAST}), **options)


def hill(toys: SimpleNamespace, clean: torch.Tensor, seed: int) -> torch.nn.Module:
    """Its top is a few levels away, and steep in some pixels: large steps overshoot it."""
    steep = 10 ** toys.gaussian(6, 7, seed=seed + 50, scale=0.7)
    return toys.Quadratic(steep, clean[0] + toys.gaussian(6, 7, seed=seed, scale=4 / 255))


def algorithm(
    clean: np.ndarray, start: np.ndarray, w: np.ndarray, c: np.ndarray, steps: int, kind: type[AutoPGD]
) -> tuple[list[np.ndarray], list[float]]:
    """Alg. 1 of the paper for one image and f = −Σ w (x − c)², in float64: where it looks, and its step sizes."""
    radius = EPSILON if kind is APGD else 10 ** (-LEAST / 20) * math.sqrt(clean.size)

    def nearest(x: np.ndarray) -> np.ndarray:
        if kind is APGD:
            return np.clip(x, np.maximum(clean - radius, 0), np.minimum(clean + radius, 1))
        away = x - clean
        return np.clip(clean + away * min(1, radius / np.linalg.norm(away)), 0, 1)

    def climbed(x: np.ndarray, size: float) -> np.ndarray:
        slope = -2 * w * (x - c)
        return nearest(x + size * (np.sign(slope) if kind is APGD else slope / np.linalg.norm(slope)))

    def f(x: np.ndarray) -> float:
        return float(-(w * (x - c) ** 2).sum())

    checks = [0, *checkpoints(steps)]
    x, looked, rises, sizes = [start], [start], [], [2 * radius]
    best, best_then, size_then = start, f(start), 2 * radius
    for k in range(1, steps):
        size = sizes[-1]
        x.append(climbed(x[-1], size))
        if k > 1:
            x[k] = nearest(x[k - 1] + 0.75 * (x[k] - x[k - 1]) + 0.25 * (x[k - 1] - x[k - 2]))
        looked.append(x[k])
        rises.append(f(x[k]) > f(x[k - 1]))
        best = max(best, x[k], key=f)
        if k in checks:
            count = k - checks[checks.index(k) - 1]
            halve = sum(rises[-count:]) < 0.75 * count or (size == size_then and f(best) == best_then)
            best_then, size_then = f(best), size
            if halve:
                size, x[k] = size / 2, best
        sizes.append(size)
    return looked, sizes


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_the_search_follows_the_papers_algorithm(toys: SimpleNamespace, kind: type[AutoPGD], seed: int) -> None:
    clean = toys.pictures(1, 6, 7, seed=seed, low=0, high=256)
    clean = torch.cat([clean, 1 - (1 - clean).mul(253).round() / 255])  # a little brighter
    metric, steps = hill(toys, clean, seed), 24
    made(kind, steps=steps)(metric, clean)
    found = visited(metric, 2)
    w, c = metric.weights.double().numpy(), metric.centre.double().numpy()
    for row in range(2):
        grid = levels(clean)[row] / 255
        expected, sizes = algorithm(grid, found[0, row].astype(np.float64), w, c, steps, kind)
        assert len(set(sizes)) >= 3  # there was something to halve
        assert len(expected) == len(found) == steps
        # Single pixels may sit on a sign change, where float32 and float64 part.
        assert (np.abs(found[:, row] - np.stack(expected)) > 1e-4).mean() < 0.01


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (50, [11, 21, 30, 38, 45]), (10, [2, 3, 4, 5, 6, 7, 8, 9]), (2, [1])],
)
def test_checkpoints_are_those_of_the_published_code(steps: int, expected: list[int]) -> None:
    assert checkpoints(steps) == expected


@given(st.integers(2, 2000))
def test_checkpoints_lie_inside_and_close_up(steps: int) -> None:
    checks = checkpoints(steps)
    gaps = np.diff([0, *checks])
    assert gaps.min() >= 1
    assert checks[-1] < steps
    assert (np.diff(gaps) <= 0).all()


# --- starts, directions, budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NORMS)
def test_every_run_starts_at_a_random_point_of_the_border(toys: SimpleNamespace, kind: type[AutoPGD]) -> None:
    clean = toys.pictures(2, 16, 16)
    metric = toys.Linear(toys.gaussian(16, 16))
    attack = made(kind, steps=2, restarts=3)
    attack(metric, clean, ids=["x", "y"])
    starts = visited(metric, 2)[::2]
    assert len({start.tobytes() for start in starts}) == 3
    for start in starts:
        assert attack.budget.size(torch.from_numpy(start), clean).numpy() == pytest.approx(
            attack.budget.limit, rel=1e-4
        )
    streams = Streams("/0", ["y"]).fork("attack")
    drawn = streams.uniform(3, 16, 16) * 2 - 1 if kind is APGD else streams.normal(3, 16, 16)
    away = starts[0][1] - clean[1].numpy()
    assert np.corrcoef(away.ravel(), drawn.numpy().ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("goal", [RAISE, LOWER])
@pytest.mark.parametrize("strength", attacks.STRENGTHS)
def test_the_cube_s_corner_is_reached(toys: SimpleNamespace, goal: object, strength: str) -> None:
    clean, weights = toys.pictures(3), toys.gaussian()
    result = attacks.create("apgd", strength=strength)(toys.Linear(weights), clean, goal=goal)
    reached = {"weak": 2, "medium": 4, "strong": 8}[strength] * (1 if goal is RAISE else -1)
    moved = levels(result.images) - levels(clean)
    assert np.array_equal(moved, np.broadcast_to(reached * np.sign(weights.numpy()).astype(int), moved.shape))


@pytest.mark.parametrize(("strength", "least"), [("weak", 40), ("medium", 35), ("strong", 30)])
def test_the_ball_is_filled_along_the_gradient(toys: SimpleNamespace, strength: str, least: float) -> None:
    clean, weights = toys.pictures(3, 32, 32), toys.gaussian(32, 32)
    result = attacks.create("apgd-l2", strength=strength)(toys.Linear(weights), clean)
    change = (result.images - clean).double()
    psnr = -10 * np.log10(change.square().flatten(1).mean(dim=1).numpy())
    assert psnr.min() >= least - 5e-3  # the budget forgives a thousandth of a level
    assert psnr == pytest.approx(least, abs=0.2)
    cosines = torch.nn.functional.cosine_similarity(change.flatten(1), weights.double().flatten()[None])
    assert float(cosines.min()) > 0.99


# --- what it is for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_the_unit_of_the_score_does_not_matter(toys: SimpleNamespace, kind: type[AutoPGD], factor: float) -> None:
    clean = toys.pictures(2, 6, 7)
    metric = hill(toys, clean, 1)
    other = toys.Quadratic(metric.weights * factor, metric.centre, score_range=(0.0, factor))
    ours, theirs = (made(kind, steps=12)(subject, clean).images for subject in (metric, other))
    assert np.abs(levels(ours) - levels(theirs)).mean() < 0.05


@pytest.mark.parametrize("kind", NORMS)
def test_steps_shrink_until_a_narrow_top_is_met(toys: SimpleNamespace, kind: type[AutoPGD]) -> None:
    clean = toys.pictures(2)
    metric = toys.Quadratic(torch.ones(3, 8, 9), clean[0] + 2.4 / 255)
    result = made(kind, steps=60)(metric, clean[:1])
    moves = np.abs(np.diff(visited(metric, 1), axis=0)).max(axis=(1, 2, 3, 4)) * 255
    assert moves[:3].max() > 2
    assert moves[-3:].max() < 1
    assert np.array_equal(levels(result.images), levels(clean[:1]) + 2)


@pytest.mark.parametrize("kind", NORMS)
def test_an_image_s_steps_do_not_depend_on_its_companions_(toys: SimpleNamespace, kind: type[AutoPGD]) -> None:
    clean = toys.pictures(3, 6, 7)
    metric = hill(toys, clean, 2)
    whole = made(kind, steps=20)(metric, clean, ids=["a", "b", "c"])
    alone = made(kind, steps=20)(metric, clean[1:2], ids=["b"])
    assert torch.equal(whole.images[1:2], alone.images)


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(("steps", "restarts"), [(2, 1), (20, 1), (5, 3)])
def test_the_cost_is_a_gradient_a_step_and_a_query_a_run(
    toys: SimpleNamespace, kind: type[AutoPGD], steps: int, restarts: int
) -> None:
    metric = toys.Linear(toys.gaussian())
    result = made(kind, steps=steps, restarts=restarts)(metric, toys.pictures(3))
    assert set(result.backwards.tolist()) == {steps * restarts}
    # The runs' ends, the clean image, which no run starts from, and perhaps the best iterate.
    assert set(result.forwards.tolist()) <= {steps * restarts + restarts + 1, steps * restarts + restarts + 2}
    assert metric.rows == int(result.forwards.sum())


@pytest.mark.parametrize("kind", NORMS)
def test_more_runs_are_never_worse(toys: SimpleNamespace, kind: type[AutoPGD]) -> None:
    clean = toys.pictures(2, 6, 7)
    values = [made(kind, steps=5, restarts=count)(hill(toys, clean, 3), clean).values for count in (1, 2, 4)]
    assert (values[1] >= values[0]).all()
    assert (values[2] >= values[1]).all()


def test_the_published_code_returns_the_best_iterate_and_no_further_step(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 6, 7)
    metric = hill(toys, clean, 4)
    result = made(APGD, steps=6, paper=True)(metric, clean)
    points = torch.from_numpy(visited(metric, 1)[:, 0])
    best = points[metric(points).argmax()]
    assert np.array_equal(levels(result.images)[0], levels(best))


def test_images_that_reach_a_target_stop(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 2 / 255, tolerance=0.4 / 255)
    result = APGD(steps=30)(metric, clean, goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.backwards[0]) < 30
    assert int(result.backwards[1]) == 30


@pytest.mark.parametrize("parameters", [{"steps": 1}, {"restarts": 0}])
@pytest.mark.parametrize("kind", NORMS)
def test_impossible_parameters_are_refused_when_the_attack_is_made(
    kind: type[AutoPGD], parameters: dict[str, float]
) -> None:
    with pytest.raises(ConfigurationError, match=kind.name):
        kind(**parameters)


@pytest.mark.parametrize("make", [lambda: APGD(epsilon=4.0), lambda: APGDL2(least_psnr=-1.0)])
def test_an_impossible_bound_is_refused_when_the_attack_is_made(make: object) -> None:
    with pytest.raises(ConfigurationError):
        make()
