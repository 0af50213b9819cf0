"""One pixel: how genes become pixels, the published population and generations, its budget, and its strength."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.objectives import Towards
from iqa_robustness.attacks.onepixel import OnePixel, _painted
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import VulnerableToPixels


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def tried_on(metric: object, count: int) -> list[np.ndarray]:
    """Levels of all images asked about, one array a call of the metric, padding left out."""
    return [levels(batch[batch.flatten(1).any(dim=1)]) for batch in metric.batches][:count]


# --- genes ----------------------------------------------------------------------------------------------------------


@given(
    genes=st.lists(st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5), min_size=1, max_size=8),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
@settings(deadline=None, max_examples=100)
def test_five_genes_are_a_row_a_column_and_a_colour_and_later_pixels_win(
    toys: SimpleNamespace, genes: list[list[float]], size: tuple[int, int]
) -> None:
    clean = toys.pictures(2, *size)
    vector = torch.tensor([genes, genes[::-1]], dtype=torch.float32)
    found = levels(_painted(clean, vector.flatten(1)))
    for image, pixels in enumerate((genes, genes[::-1])):
        expected = levels(clean)[image]
        for row, column, *colour in pixels:
            place = (
                min(int(np.float32(row) * size[0]), size[0] - 1),
                min(int(np.float32(column) * size[1]), size[1] - 1),
            )
            expected[:, place[0], place[1]] = [min(int(np.float32(value) * 256), 255) for value in colour]
        assert np.array_equal(found[image], expected)


def test_painting_leaves_the_images_it_was_given_alone(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    before = clean.clone()
    _painted(clean, torch.rand(2, 10))
    assert torch.equal(clean, before)


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [3, 5, 6, 7, 40, 101])
def test_the_queries_are_spent_exactly_the_clean_image_included(toys: SimpleNamespace, queries: int) -> None:
    metric = toys.Linear(toys.gaussian())
    result = OnePixel(queries=queries, count=3)(metric, toys.pictures(3))
    assert result.forwards.tolist() == [queries] * 3
    assert metric.rows == 3 * queries
    assert result.backwards.tolist() == [0] * 3


@pytest.mark.parametrize(("count", "population"), [(10, 300), (20, 300), (40, 200), (1, 300), (7, 280)])
def test_paper_has_the_published_population_and_ten_generations(
    toys: SimpleNamespace, count: int, population: int
) -> None:
    attack = OnePixel(queries=10_000, count=count, paper=True)
    assert attack._evolution().population == population
    assert (attack._evolution().crossover, attack._evolution().scale) == (1.0, (0.5, 1.0))
    metric = toys.Linear(toys.gaussian(5, 6))
    metric._record = lambda images: None
    result = attack(metric, toys.pictures(1, 5, 6), micro_batch=100)
    # The clean image, eleven generations, and its best once more unless that is the best of all.
    assert int(result.forwards) in (1 + 11 * population, 2 + 11 * population)


@pytest.mark.parametrize("queries", [3, 40, 700])
def test_paper_keeps_within_the_queries_too(toys: SimpleNamespace, queries: int) -> None:
    result = OnePixel(queries=queries, count=10, paper=True)(toys.Linear(toys.gaussian()), toys.pictures(2))
    assert set(result.forwards.tolist()) <= {queries - 1, queries}


def test_a_generation_of_all_images_is_asked_about_at_once(toys: SimpleNamespace) -> None:
    clean, calls = toys.pictures(3), []
    objective = toys.objective(toys.Linear(toys.gaussian()), clean)
    ask = objective.values
    objective.values = lambda candidates, rows=None: (calls.append(len(candidates)), ask(candidates, rows))[1]
    attack = OnePixel(queries=36, population=7, count=2)
    attack.run(objective, clean, objective.streams.fork("attack"))
    assert calls == [21] * 5


def test_images_that_reach_a_target_stop_and_the_others_go_on_as_if_alone(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 4 / 255, tolerance=2 / 255)
    attack = OnePixel(queries=90, count=3)
    result = attack(metric, clean, ids=["a", "b"], goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.forwards[0]) < int(result.forwards[1]) == 90
    assert torch.equal(attack(metric, clean[1:], ids=["b"], goal=goal).images[0], result.images[1])


# --- what is tried --------------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 12),
    queries=st.integers(3, 60),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    paper=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_no_count_and_size_leave_the_budget(
    toys: SimpleNamespace, count: int, queries: int, size: tuple[int, int], paper: bool
) -> None:
    clean = toys.pictures(2, *size, low=0, high=256)
    result = OnePixel(count=count, queries=queries, paper=paper)(toys.Linear(toys.gaussian(*size)), clean)
    assert (levels(result.images) != levels(clean)).any(axis=1).sum(axis=(1, 2)).max() <= count
    assert paper or (result.values >= result.clean_values).all()


def test_first_colours_are_corners_and_those_of_the_published_code_are_not(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 30, 30)
    for paper in (False, True):
        metric = toys.Linear(toys.gaussian(30, 30))
        OnePixel(queries=200, count=5, population=100, paper=paper)(metric, clean, micro_batch=1)
        tried = np.concatenate(tried_on(metric, 101)[1:])
        changed = (tried != levels(clean)).any(axis=1)
        colours = np.moveaxis(tried, 1, -1)[changed]
        assert changed.sum(axis=(1, 2)).max() == 5
        assert (set(np.unique(colours)) == {0, 255}) is not paper
        assert len(np.unique(np.argwhere(changed)[:, 1:], axis=0)) > 300  # everywhere in the image


def test_a_trial_differs_from_its_parent_in_whole_pixels(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 40, 40)
    metric = toys.Broken(lambda images: images.new_zeros(len(images)) - (images - clean).abs().amax(dim=(1, 2, 3)))
    OnePixel(queries=21, count=8, population=10, crossover=0.0)(metric, clean, micro_batch=1)
    tried = np.concatenate(tried_on(metric, 21)[1:])
    for parent, trial in zip(tried[:10], tried[10:], strict=True):
        moved = (parent != trial).any(axis=0).sum()
        assert 1 <= moved <= 2  # one pixel left its place for another


def test_paper_returns_its_best_individual_even_if_it_does_harm(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: -(images - clean).abs().amax(dim=(1, 2, 3)))
    best = OnePixel(queries=30, count=2)(metric, clean)
    last = OnePixel(queries=30, count=2, paper=True)(metric, clean)
    assert torch.equal(best.images, clean)
    assert float(last.values) < float(last.clean_values)


# --- strength -------------------------------------------------------------------------------------------------------


def best_pixels(weights: torch.Tensor, clean: torch.Tensor, count: int) -> torch.Tensor:
    """The largest gain of so many pixels on a linear metric: each black or white in every channel."""
    gains = torch.maximum(weights * (1 - clean), -weights * clean).sum(dim=1)
    return gains.flatten(1).topk(count, dim=1).values.sum(dim=1)


# What was measured, cut off after the second digit. The best ten of as many single pixels, drawn at random and each
# known by itself, would reach 0.64 and 0.90: a trial tells only what its few new pixels are worth together.
@pytest.mark.parametrize(("queries", "share"), [(300, 0.43), (3000, 0.71)])
def test_it_reaches_a_good_part_of_the_best_pixels_of_a_linear_metric(
    toys: SimpleNamespace, queries: int, share: float
) -> None:
    clean, weights = toys.pictures(3, 32, 32), toys.gaussian(32, 32)
    metric = toys.Linear(weights)
    metric._record = lambda images: None
    result = OnePixel(queries=queries, count=10)(metric, clean)
    reached = (result.values - result.clean_values) / best_pixels(weights, clean, 10)
    assert (reached > share).all()
    assert (reached <= 1 + 1e-5).all()


def test_it_gains_more_than_pixels_drawn_at_random_and_than_the_published_code() -> None:
    metric, clean, queries = VulnerableToPixels(), torch.full((3, 3, 48, 64), 128 / 255), 400
    ours = OnePixel(queries=queries, count=10)(metric, clean)
    published = OnePixel(queries=queries, count=10, paper=True)(metric, clean)
    random, best = np.random.RandomState(0), 0.0
    for _ in range(queries):
        painted = clean[:1].clone()
        painted[:, :, random.randint(0, 48, 10), random.randint(0, 64, 10)] = torch.from_numpy(
            random.randint(0, 256, (3, 10)).astype(np.float32) / 255
        )
        best = max(best, float(metric(painted) - metric(clean[:1])) / 100)
    assert (ours.values - ours.clean_values > 1.3 * best).all()
    assert (ours.values > published.values).all()


def test_the_strengths_are_the_published_counts() -> None:
    assert [OnePixel(**fields).budget.count for fields in OnePixel.strengths.values()] == [10, 20, 40]


@pytest.mark.parametrize(
    "parameters", [{"queries": 2}, {"count": 0}, {"population": 2}, {"crossover": 1.1}, {"crossover": -0.1}]
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        OnePixel(**parameters)
