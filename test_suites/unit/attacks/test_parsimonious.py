"""Parsimonious: blocks, the order of greedy choices, the hierarchy, its budget, and the published defects."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.objectives import Towards
from iqa_robustness.attacks.parsimonious import Parsimonious, _Climb
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.streams import Streams

EPSILON = 4 / 255


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def tried_on(metric: object) -> np.ndarray:
    """(queries, 3, H, W) levels of all images asked about, padding left out."""
    return levels(torch.cat([batch[batch.flatten(1).any(dim=1)] for batch in metric.batches]))


def raised_blocks(metric: object, clean: torch.Tensor, side: int) -> list[set[tuple[int, ...]]]:
    """The raised blocks of each image asked about, the clean one left out."""
    up = tried_on(metric)[1:] > levels(clean)
    return [{(channel, row // side, column // side) for channel, row, column in np.argwhere(one)} for one in up]


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("queries", [3, 4, 17, 80, 301])
def test_no_more_queries_are_spent_than_allowed_and_by_default_all(
    toys: SimpleNamespace, queries: int, paper: bool
) -> None:
    metric = toys.Linear(toys.gaussian())
    result = Parsimonious(queries=queries, paper=paper)(metric, toys.pictures(3))
    assert result.forwards.tolist() == [queries] * 3 if not paper else int(result.forwards.max()) <= queries
    assert int(result.forwards.min()) >= queries - paper
    assert metric.rows == int(result.forwards.sum())
    assert result.backwards.tolist() == [0] * 3


def test_images_that_reach_a_target_stop_and_the_others_go_on_as_if_alone(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 1.3 / 255, tolerance=0.3 / 255)
    attack = Parsimonious(queries=90, epsilon=EPSILON)
    result = attack(metric, clean, ids=["a", "b"], goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.forwards[0]) < int(result.forwards[1]) == 90
    alone = attack(metric, clean[1:], ids=["b"], goal=goal)
    assert torch.equal(alone.images[0], result.images[1])


def test_a_whole_mini_batch_of_all_images_is_asked_about_at_once(toys: SimpleNamespace) -> None:
    clean, calls = toys.pictures(2, 16, 16), []
    metric = toys.Linear(toys.gaussian(16, 16))
    objective = toys.objective(metric, clean, epsilon=EPSILON)
    ask = objective.values
    objective.values = lambda candidates, rows=None: (calls.append(len(candidates)), ask(candidates, rows))[1]
    objective.query_clean()
    Parsimonious(queries=800, epsilon=EPSILON).run(objective, clean.clone(), Streams("key", ["a", "b"]))
    # Clean, lowest, 64 blocks of both images; then one block of each at a time.
    assert calls[:3] == [2, 2, 128]
    assert set(calls[3:20]) == {2}


# --- what is tried --------------------------------------------------------------------------------------------------


def test_every_value_is_epsilon_below_or_above_and_the_first_image_is_below_everywhere(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 12, 15)
    metric = toys.Linear(toys.gaussian(12, 15))
    Parsimonious(queries=300, epsilon=0.0186)(metric, clean)
    change = tried_on(metric) - levels(clean)
    assert not change[0].any()
    assert (change[1] == -4).all()  # 0.0186 × 255 = 4.74: four levels are inside
    assert set(np.unique(change[1:])) == {-4, 4}


def test_each_query_flips_one_block_of_one_channel_of_the_image_that_was_reached(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 16, 24)
    metric = toys.Linear(toys.gaussian(16, 24))
    attack = Parsimonious(queries=300, epsilon=EPSILON)
    attack(metric, clean)
    up = tried_on(metric)[1:] > levels(clean)
    base = up[0]
    assert attack.first_side(16, 24) == 4
    for number in range(1, 1 + 64):
        channels, rows, columns = np.nonzero(up[number] != base)
        assert len(set(channels)) == 1
        assert (len(set(rows)), len(set(columns)), len(rows)) == (4, 4, 16)
        assert rows.min() % 4 == columns.min() % 4 == 0
    blocks = {tuple(int(axis[0]) for axis in np.nonzero(up[number] != base)) for number in range(1, 65)}
    assert len(blocks) == 64


def test_at_the_ends_of_the_range_colours_are_clamped(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=0, high=256)
    clean[0] = 0
    metric = toys.Linear(toys.gaussian())
    result = Parsimonious(queries=60, epsilon=EPSILON)(metric, clean)
    assert 0 <= tried_on(metric).min() <= tried_on(metric).max() <= 255
    assert set(np.unique(levels(result.images[0]))) <= {0, 4}


@given(epsilon=st.floats(0, 0.1), queries=st.integers(3, 90), size=st.tuples(st.integers(1, 11), st.integers(1, 11)))
@settings(deadline=None, max_examples=30)
def test_no_parameters_leave_the_budget(
    toys: SimpleNamespace, epsilon: float, queries: int, size: tuple[int, int]
) -> None:
    clean = toys.pictures(2, *size, low=0, high=256)
    result = Parsimonious(epsilon=epsilon, queries=queries)(toys.Linear(toys.gaussian(*size)), clean)
    assert np.abs(levels(result.images) - levels(clean)).max() <= 255 * epsilon + 1e-3
    assert (result.values >= result.clean_values).all()
    assert result.forwards.tolist() == [queries] * 2


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "queries", "side"),
    [
        ((256, 256), 10_000, 32),  # as published
        ((384, 512), 10_000, 64),
        ((192, 256), 10_000, 32),
        ((192, 256), 1_000, 32),
        ((192, 256), 200, 64),
        ((32, 32), 10_000, 4),
        ((32, 32), 10, 32),
        ((7, 300), 30_000, 1),
        ((1, 1), 3, 1),
    ],
)
def test_the_first_blocks_have_an_eighth_of_the_side_or_leave_queries_for_the_rest(
    size: tuple[int, int], queries: int, side: int
) -> None:
    assert Parsimonious(queries=queries).first_side(*size) == side


def climb(size: tuple[int, int], *, paper: bool = False, queries: int = 10_000) -> _Climb:
    low, high = torch.zeros(3, *size), torch.ones(3, *size)
    return _Climb(Parsimonious(queries=queries, paper=paper), (low.clone(), low, high), 0.0, Streams("key", ["a"]))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (50, 33), (300, 261), (192, 256)])
def test_the_blocks_of_a_level_cover_every_value_once(size: tuple[int, int], paper: bool) -> None:
    blocks = climb(size, paper=paper)
    covered = torch.zeros(3, *size)
    for block in np.ndindex(blocks.shape):
        single = torch.zeros(3, *size)
        blocks.flip(single, block)
        covered += single
    assert (covered == 1).all()


@pytest.mark.parametrize("size", [(192, 256), (299, 299), (384, 512)])
def test_paper_stretches_256_cells_over_the_image_as_nearest_neighbours_do(size: tuple[int, int]) -> None:
    blocks = climb(size, paper=True)
    assert blocks.shape == (3, 8, 8)
    for block in ((0, 0, 0), (1, 3, 7), (2, 7, 2)):
        cells = torch.zeros(1, 3, 256, 256)
        cells[0, block[0], 32 * block[1] : 32 * block[1] + 32, 32 * block[2] : 32 * block[2] + 32] = 1
        found = torch.zeros(3, *size)
        blocks.flip(found, block)
        assert torch.equal(found, F.interpolate(cells, size=size, mode="nearest")[0])


# --- choices --------------------------------------------------------------------------------------------------------


def test_of_a_linear_metric_the_best_corner_is_found_exactly(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(2, 8, 9), toys.gaussian()
    result = Parsimonious(queries=1200, epsilon=EPSILON)(toys.Linear(weights), clean)
    assert (levels(result.images) - levels(clean) == 4 * np.sign(weights.numpy())).all()


def test_blocks_are_taken_in_the_order_of_their_gain_and_none_that_does_harm(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(1, 16, 16), toys.gaussian(16, 16)
    metric = toys.Linear(weights)
    Parsimonious(queries=800, epsilon=EPSILON)(metric, clean)
    up = tried_on(metric)[1:] > levels(clean)
    gains = F.avg_pool2d(weights[None], 2)[0].numpy()  # first blocks of 2 × 2
    candidates = [next(iter(blocks)) for blocks in raised_blocks(metric, clean, 2)[1:65]]
    assert len(set(candidates)) == 64
    expected = sorted((block for block in candidates if gains[block] > 0), key=lambda block: -gains[block])
    # Gains do not change, so that after the first pass each query asks about the next best block on top of the others.
    state = np.zeros_like(gains, dtype=bool)
    state[expected[0]] = True
    for number, block in enumerate(expected[1:], start=65):
        state[block] = True
        assert np.array_equal(up[number], state.repeat(2, axis=1).repeat(2, axis=2))


def test_a_block_whose_gain_has_gone_since_it_was_looked_at_is_left_alone(toys: SimpleNamespace) -> None:
    clean = torch.full((1, 3, 8, 8), 128 / 255)
    # Raising red or green gains; raising both gains no more than one of them.
    metric = toys.Broken(lambda images: torch.maximum(images[:, 0], images[:, 1]).mean(dim=(1, 2)))
    result = Parsimonious(queries=900, epsilon=EPSILON)(metric, clean)
    raised = result.images[0, :2] > clean[0, :2]
    assert (raised.sum(dim=0) == 1).all()


def test_a_block_that_later_ones_made_harmful_is_lowered_again(toys: SimpleNamespace) -> None:
    clean = torch.full((1, 3, 1, 1), 128 / 255)

    def score(images: torch.Tensor) -> torch.Tensor:
        a, b, c = (images > 0.51).float().flatten(1).unbind(dim=1)
        together = -0.4 * a * b - 0.4 * a * c + 0.3 * b * c - 0.6 * a * b * c
        return a + 0.9 * b + 0.8 * c + together  # a 1, ab 1.5, abc 1.6, but bc 2

    metric = toys.Broken(score)
    result = Parsimonious(queries=12, epsilon=EPSILON)(metric, clean)
    assert levels(result.images[0]).flatten().tolist() == [124, 132, 132]
    assert float(result.values) == pytest.approx(2.0)


# --- paper ----------------------------------------------------------------------------------------------------------


def one_good_block() -> torch.Tensor:
    weights = torch.full((3, 32, 32), -0.001)
    weights[1, 8:12, 4:8] = 0.1
    return weights


def test_by_default_nothing_is_asked_about_on_top_of_the_last_good_block(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(1, 32, 32), toys.Linear(one_good_block())
    Parsimonious(queries=800, epsilon=EPSILON)(metric, clean)
    tried = raised_blocks(metric, clean, 4)
    assert tried[0] == set()
    # Three mini-batches of 64 blocks; where the good one is taken, it alone is looked at again.
    assert [len(blocks) for blocks in tried[1:65]] == [1] * 64
    assert max(len(blocks) for blocks in tried[: 1 + 3 * 64]) == 2
    assert sum(blocks == set() for blocks in tried) == 2


def test_paper_takes_the_best_block_of_a_pass_and_the_second_one_too_whatever_they_do(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(1, 32, 32), toys.Linear(one_good_block())
    Parsimonious(queries=250, epsilon=EPSILON, paper=True)(metric, clean)
    tried = raised_blocks(metric, clean, 4)
    assert max(len(blocks) for blocks in tried) == 3
    # The good one was raised, a harmful one on top of it, and a third one was looked at on top of both.
    assert (1, 2, 1) in next(blocks for blocks in tried if len(blocks) == 3)


def test_paper_asks_for_the_value_it_has_at_every_mini_batch(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(1, 32, 32), toys.Linear(one_good_block())
    Parsimonious(queries=80, epsilon=EPSILON, paper=True)(metric, clean)
    tried = raised_blocks(metric, clean, 4)
    assert tried[:2] == [set(), set()]
    assert all(len(blocks) == 1 for blocks in tried[2:66])


@pytest.mark.parametrize(("queries", "complete"), [(30, False), (80, True)])
def test_paper_returns_the_last_complete_mini_batch_even_if_it_does_harm(
    toys: SimpleNamespace, queries: int, complete: bool
) -> None:
    clean = toys.pictures(1, 32, 32)
    weights = torch.full((3, 32, 32), 0.01)
    weights[:, :16] = 0.02
    attack = Parsimonious(queries=queries, epsilon=EPSILON, paper=True)
    result = attack(toys.Linear(weights), clean)
    lowest = np.array_equal(levels(result.images), levels(clean) - 4)
    assert lowest is (not complete) or queries == 80
    assert float(result.values) < float(result.clean_values)


# --- strength -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queries", "share"), [(100, 0.45), (300, 0.9)])
def test_it_finds_nearly_the_optimum_of_block_weights_and_far_more_than_random_search(
    queries: int, share: float
) -> None:
    metric, clean = Vulnerable(), torch.full((2, 3, 48, 64), 128 / 255)
    result = Parsimonious(queries=queries, epsilon=EPSILON)(metric, clean)
    found = (result.values - result.clean_values) / (metric.slope * EPSILON)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (queries, 3, 48, 64), generator=generator) * 2 - 1
    at_random = (metric(clean[:1] + EPSILON * signs).max() - metric(clean[:1])) / 100 / (metric.slope * EPSILON)
    assert (found > share).all()
    assert (found <= 1 + 1e-5).all()
    assert (found > 10 * at_random).all()


def test_more_queries_never_hurt(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 24, 32), toys.Linear(toys.gaussian(24, 32))
    attack = Parsimonious(queries=500, epsilon=EPSILON)
    values = [attack(metric, clean, max_forwards=limit).values for limit in (2, 10, 100, 250, 500)]
    assert all((more >= fewer).all() for fewer, more in itertools.pairwise(values))
    assert (values[-1] > values[0]).all()


def test_the_strengths_are_the_published_ones_of_40_35_and_30_db() -> None:
    bounds = [Parsimonious(**fields).budget.epsilon for fields in Parsimonious.strengths.values()]
    assert bounds == [0.0103, 0.0186, 0.0337]
    # A change of ± epsilon everywhere; what is clipped at black and white raises the published figures.
    assert [round(-20 * math.log10(bound)) for bound in bounds] == [40, 35, 29]


@pytest.mark.parametrize("parameters", [{"queries": 2}, {"epsilon": 4.0}, {"epsilon": -0.1}])
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Parsimonious(**parameters)
