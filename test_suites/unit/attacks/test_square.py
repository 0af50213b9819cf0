"""Square: queries exactly as budgeted, colours on the corners of the cube, the published schedule, and its strength."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.objectives import RAISE, Towards
from iqa_robustness.attacks.square import Square
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable

EPSILON = 4 / 255


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def candidates_of(metric: object, count: int) -> np.ndarray:
    """(queries, count, 3, H, W) levels: the rows of every forward pass, without padding."""
    return np.stack([levels(batch[:count]) for batch in metric.batches])


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("queries", [2, 3, 17, 60])
def test_the_queries_are_spent_exactly_the_clean_image_included(
    toys: SimpleNamespace, queries: int, paper: bool
) -> None:
    metric = toys.Linear(toys.gaussian())
    result = Square(queries=queries, paper=paper)(metric, toys.pictures(3))
    assert result.forwards.tolist() == [queries] * 3
    assert result.backwards.tolist() == [0] * 3
    assert metric.rows == 3 * queries
    assert set(metric.modes) == {"query"}


def test_images_that_reach_a_target_stop_and_the_others_go_on(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 1.3 / 255, tolerance=0.3 / 255)
    assert abs(float(clean[1].mean() - clean[0].mean())) > 6 / 255  # out of the second image's reach
    result = Square(queries=80)(metric, clean, goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.forwards[0]) < 80
    assert int(result.forwards[1]) == 80
    assert metric.rows == int(result.forwards.sum())


def test_an_image_goes_on_alike_whether_or_not_a_companion_has_stopped(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 1.3 / 255, tolerance=0.3 / 255)
    together = Square(queries=80)(metric, clean, ids=["a", "b"], goal=goal)
    alone = Square(queries=80)(metric, clean[1:], ids=["b"], goal=goal)
    assert int(together.forwards[0]) < int(together.forwards[1])
    assert torch.equal(together.images[1], alone.images[0])


def test_when_all_images_arrived_nothing_more_is_asked(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    result = Square(queries=500)(metric, clean, goal=Towards(score=float(clean.mean()), tolerance=0.01))
    assert result.forwards.tolist() == [2]
    assert torch.equal(result.images, clean)


# --- what is tried --------------------------------------------------------------------------------------------------


def test_every_value_is_clean_plus_or_minus_epsilon_from_the_stripes_on(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    result = Square(queries=60)(metric, clean, micro_batch=2)
    tried = candidates_of(metric, 2) - levels(clean)
    assert np.abs(tried[0]).max() == 0
    assert set(np.unique(tried[1:])) == {-4, 4}
    # The first candidate is vertical stripes: one sign a column and channel.
    assert (tried[1] == tried[1][:, :, :1]).all()
    assert set(np.unique(levels(result.images) - levels(clean))) == {-4, 4}


def test_with_paper_untouched_pixels_are_clean_and_the_others_plus_or_minus_epsilon(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    Square(queries=60, paper=True)(metric, clean, micro_batch=2)
    tried = candidates_of(metric, 2) - levels(clean)
    assert set(np.unique(tried)) == {-4, 0, 4}


def test_paper_starts_with_one_square_not_with_stripes(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Linear(toys.gaussian())
    Square(paper=True)(metric, clean, micro_batch=2, max_forwards=4)
    changed = (candidates_of(metric, 2)[1] != levels(clean)).any(axis=1)
    assert changed.sum(axis=(1, 2)).tolist() == [round(math.sqrt(0.05 * 8 * 9)) ** 2] * 2


def test_a_candidate_differs_from_what_was_accepted_in_one_square_and_better_ones_are_accepted(
    toys: SimpleNamespace,
) -> None:
    clean = toys.pictures(1, 12, 15)
    weights = toys.gaussian(12, 15)
    metric = toys.Linear(weights)
    attack = Square(queries=120)
    result = attack(metric, clean, micro_batch=1)
    tried = candidates_of(metric, 1)[:, 0]
    exact = (tried / 255 * weights.double().numpy()).sum(axis=(1, 2, 3))
    current, value = tried[1], exact[1]
    for number in range(2, 120):
        rows, columns = np.nonzero((tried[number] != current).any(axis=0))
        side = attack._side(number, 12, 15)
        assert len(rows) > 0, "a query that changes nothing is wasted"
        assert rows.max() - rows.min() < side
        assert columns.max() - columns.min() < side
        if exact[number] > value:
            current, value = tried[number], exact[number]
    best = current if value > exact[0] else tried[0]
    assert np.array_equal(levels(result.images)[0], best)


def test_at_the_ends_of_the_range_colours_are_clamped(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=0, high=256)
    clean[0] = 0
    metric = toys.Linear(toys.gaussian())
    Square(queries=30)(metric, clean, micro_batch=2)
    tried = candidates_of(metric, 2)
    assert tried.min() >= 0
    assert tried.max() <= 255
    assert set(np.unique(tried[1:, 0])) == {0, 4}


@given(epsilon=st.floats(0, 0.1), queries=st.integers(2, 30), size=st.tuples(st.integers(2, 9), st.integers(2, 9)))
@settings(deadline=None, max_examples=40)
def test_no_parameters_leave_the_budget(
    toys: SimpleNamespace, epsilon: float, queries: int, size: tuple[int, int]
) -> None:
    clean = toys.pictures(2, *size, low=0, high=256)
    result = Square(epsilon=epsilon, queries=queries)(toys.Linear(toys.gaussian(*size)), clean)
    assert np.abs(levels(result.images) - levels(clean)).max() <= 255 * epsilon + 1e-3
    assert (result.values >= result.clean_values).all()


# --- the schedule ---------------------------------------------------------------------------------------------------

# Andriushchenko et al., section 4.1 and their code: with N = 10,000 queries p is halved after these.
PUBLISHED = {1: 1, 10: 1, 11: 2, 50: 2, 51: 4, 200: 4, 201: 8, 500: 8, 501: 16, 1000: 16, 1001: 32, 2000: 32}
PUBLISHED |= {2001: 64, 4000: 64, 4001: 128, 6000: 128, 6001: 256, 8000: 256, 8001: 512, 9999: 512}


@pytest.mark.parametrize("size", [(192, 256), (224, 224), (33, 500)])
@pytest.mark.parametrize(("share", "paper"), [(0.8, False), (0.05, False), (0.3, False), (0.05, True)])
def test_the_side_follows_the_published_schedule(size: tuple[int, int], share: float, paper: bool) -> None:
    attack = Square(queries=10_000, initial_share=0.8 if paper else share, paper=paper)
    for query, divisor in PUBLISHED.items():
        expected = min(max(round(math.sqrt(share / divisor * size[0] * size[1])), 1), min(size) - 1)
        assert attack._side(query, *size) == expected, query


def test_a_smaller_budget_runs_through_the_whole_schedule_faster() -> None:
    long, short = Square(queries=10_000), Square(queries=500)
    for query in range(1, 500):
        assert short._side(query, 192, 256) == long._side(20 * query, 192, 256)


def test_a_square_is_at_least_one_pixel_and_never_the_whole_image() -> None:
    for size in ((2, 2), (2, 300), (5, 5), (40, 7)):
        for query in (1, 100, 9_999):
            assert 1 <= Square()._side(query, *size) < min(size)


# --- where it looks -------------------------------------------------------------------------------------------------


def test_the_whole_image_is_within_reach(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 20, 30)
    metric = toys.Linear(torch.zeros(3, 20, 30))  # nothing is ever accepted
    Square(queries=1500)(metric, clean, micro_batch=1)
    tried = candidates_of(metric, 1)[1:, 0]
    touched = (tried != tried[0]).any(axis=(0, 1))
    assert touched.all()


def test_every_place_of_a_square_is_drawn_corners_included(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 6, 6)
    metric = toys.Broken(lambda images: images.new_zeros(len(images)))  # nothing is ever accepted
    Square(queries=400, initial_share=1 / 36, paper=False)(metric, clean, micro_batch=1)
    tried = candidates_of(metric, 1)[:, 0]
    places = {tuple(int(i[0]) for i in np.nonzero((one != tried[1]).any(axis=0))) for one in tried[2:]}
    assert places == {(row, column) for row in range(6) for column in range(6)}


def test_paper_stays_in_the_top_left_256_pixels_and_the_default_does_not() -> None:
    clean = torch.full((1, 3, 260, 300), 100 / 255)
    metric = Vulnerable()
    changed = {
        paper: (Square(queries=40, paper=paper, epsilon=8 / 255)(metric, clean).images != clean).any(dim=1)[0]
        for paper in (False, True)
    }
    assert changed[True][:256, :256].any()
    assert not changed[True][256:].any()
    assert not changed[True][:, 256:].any()
    assert changed[False][256:].any()
    assert changed[False][:, 256:].any()


# --- strength -------------------------------------------------------------------------------------------------------


def test_the_best_value_never_falls_and_more_queries_never_hurt(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 24, 32)
    metric = toys.Linear(toys.gaussian(24, 32))
    attack = Square(queries=300)
    values = [attack(metric, clean, max_forwards=limit).values for limit in (2, 10, 40, 150, 300)]
    for fewer, more in itertools.pairwise(values):
        assert (more >= fewer).all()
    assert (values[-1] > values[0]).all()


@pytest.mark.parametrize(("queries", "share"), [(300, 0.25), (1000, 0.5)])
def test_it_finds_a_good_part_of_the_optimum_of_block_weights_and_far_more_than_random_search(
    queries: int, share: float
) -> None:
    metric = Vulnerable()
    clean = torch.full((3, 3, 24, 32), 128 / 255)
    result = Square(queries=queries, epsilon=EPSILON)(metric, clean)
    optimum = metric.slope * EPSILON
    found = (result.values - result.clean_values) / optimum
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (queries, 3, 24, 32), generator=generator) * 2 - 1
    at_random = RAISE.values(metric(clean[:1] + EPSILON * signs), metric.spec).max() - result.clean_values[0]
    assert (found > share).all()
    assert (found <= 1 + 1e-5).all()
    assert (found > 4 * at_random / optimum).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {"queries": 1},
        {"queries": 0},
        {"initial_share": 0.0},
        {"initial_share": 1.1},
        {"epsilon": 4.0},
        {"epsilon": -0.1},
    ],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Square(**parameters)
