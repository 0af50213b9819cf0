"""NES: what is asked, estimates against their closed form, steps and their lengths, and the published code."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.nes import NES, _cells
from iqa_robustness.attacks.objectives import Towards
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.streams import Streams

EPSILON = 4 / 255


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def tried_on(metric: object) -> torch.Tensor:
    """(queries, 3, H, W), all images asked about, padding left out."""
    return torch.cat([batch[batch.flatten(1).any(dim=1)] for batch in metric.batches])


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("queries", [4, 5, 23, 60, 85, 200])
def test_no_more_queries_are_spent_than_allowed_and_at_most_one_is_left(
    toys: SimpleNamespace, queries: int, paper: bool
) -> None:
    metric = toys.Linear(toys.gaussian())
    result = NES(queries=queries, paper=paper)(metric, toys.pictures(3))
    assert set(result.forwards.tolist()) <= {queries - 1, queries}
    assert metric.rows == int(result.forwards.sum())
    assert result.backwards.tolist() == [0] * 3


def test_paper_asks_ten_thousand_queries_in_250_iterations_of_40(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian(3, 3))
    metric._record = lambda images: None
    # The clean image and the last one are asked about too: two pairs of the published run are left out.
    assert NES(paper=True)(metric, toys.pictures(1, 3, 3), micro_batch=40).forwards.tolist() == [10_000]


def test_pairs_of_all_images_are_asked_about_together(toys: SimpleNamespace) -> None:
    clean, calls = toys.pictures(3), []
    objective = toys.objective(toys.Linear(toys.gaussian()), clean)
    ask = objective.values
    objective.values = lambda candidates, rows=None, **options: (
        calls.append(len(candidates)),
        ask(candidates, rows, **options),
    )[1]
    NES(queries=1 + 2 * 41, pairs=20).run(objective, clean, objective.streams.fork("attack"))
    assert calls == [3, 3 * 40, 3, 3 * 40, 3]


def test_large_images_are_asked_about_in_parts_to_the_same_end(
    toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, metric = toys.pictures(2), toys.Linear(toys.gaussian())
    whole = NES(queries=90)(metric, clean)
    monkeypatch.setattr("iqa_robustness.attacks.objectives._VALUES_AT_ONCE", 1)
    parts = NES(queries=90)(metric, clean)
    assert torch.equal(whole.images, parts.images)


def test_images_that_reach_a_target_stop_and_the_others_go_on_as_if_alone(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 1.3 / 255, tolerance=0.3 / 255)
    attack = NES(queries=130)
    result = attack(metric, clean, ids=["a", "b"], goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.forwards[0]) < int(result.forwards[1])
    assert torch.equal(attack(metric, clean[1:], ids=["b"], goal=goal).images[0], result.images[1])


@pytest.mark.parametrize("limit", [4, 7, 19, 33])
def test_a_budget_that_ends_within_a_pair_leaves_finite_results(toys: SimpleNamespace, limit: int) -> None:
    result = NES(queries=100)(toys.Linear(toys.gaussian()), toys.pictures(2), max_forwards=limit)
    assert torch.isfinite(result.values).all()
    assert result.forwards.tolist() == [limit] * 2


# --- what is asked --------------------------------------------------------------------------------------------------


def test_queries_are_8_bit_images_in_antithetic_pairs_around_the_image_that_was_reached(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 12, 12)
    metric = toys.Linear(toys.gaussian(12, 12))
    NES(queries=42, epsilon=40 / 255, sigma=3 / 255)(metric, clean, micro_batch=1)
    tried = tried_on(metric) * 255
    assert torch.allclose(tried, tried.round(), atol=1e-4)
    change = (tried - clean * 255).round()[1:41].view(20, 2, -1)
    # Rounded half to even, a number and its opposite are opposite levels around a level.
    assert torch.equal(change[:, 0], -change[:, 1])
    assert float(change.std()) == pytest.approx(3, rel=0.03)
    assert abs(float(torch.corrcoef(change[:2, 0])[0, 1])) < 0.2


def test_noise_is_a_sum_over_square_cells_of_all_sizes_standard_normal_in_each_pixel() -> None:
    attack, streams = NES(), Streams("key", [str(number) for number in range(2_000)])
    noise = attack._noise(streams, 0, 8, 13)
    assert noise.shape == (2_000, 3, 8, 13)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert torch.allclose(noise.var(dim=0), torch.ones(3, 8, 13), atol=0.15)
    # Pixels share the cells of 2, 4, 8 and 16 a side that both lie in, of 5 sizes; channels share none.
    first = noise[:, 0, 0]
    for column, shared in ((1, 4), (2, 3), (3, 3), (4, 2), (7, 2), (8, 1), (12, 1)):
        assert float((first[:, 0] * first[:, column]).mean()) == pytest.approx(shared / 5, abs=0.08)
    assert float((noise[:, 0] * noise[:, 1]).mean()) == pytest.approx(0, abs=0.03)


@given(pairs=st.integers(0, 60_000), height=st.integers(1, 400), width=st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_cells_of_a_size_are_left_out_once_there_were_two_pairs_for_each(pairs: int, height: int, width: int) -> None:
    sizes = _cells(pairs, height, width)
    every = [(math.ceil(height / 2**power), math.ceil(width / 2**power)) for power in range(10)]
    distinct = [size for number, size in enumerate(every) if number == 0 or size != every[number - 1]]
    assert sizes == [size for number, size in enumerate(distinct) if number == 0 or 6 * math.prod(size) > pairs]


def test_an_iteration_asks_with_the_cells_that_are_left(toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def listen(pairs: int, height: int, width: int) -> list[tuple[int, int]]:
        asked.append(pairs)
        return _cells(pairs, height, width)

    monkeypatch.setattr("iqa_robustness.attacks.nes._cells", listen)
    NES(queries=1 + 3 * 41)(toys.Linear(toys.gaussian()), toys.pictures(2))
    assert asked == [*range(60)]


@given(
    epsilon=st.floats(0, 0.1),
    queries=st.integers(4, 60),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    paper=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_no_parameters_leave_the_budget(
    toys: SimpleNamespace, epsilon: float, queries: int, size: tuple[int, int], paper: bool
) -> None:
    clean = toys.pictures(2, *size, low=0, high=256)
    result = NES(epsilon=epsilon, queries=queries, paper=paper)(toys.Linear(toys.gaussian(*size)), clean)
    assert np.abs(levels(result.images) - levels(clean)).max() <= 255 * epsilon + 1e-3
    assert paper or (result.values >= result.clean_values).all()


# --- estimates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [20, 100, 400])
def test_the_estimate_has_the_cosine_that_theory_gives_it(toys: SimpleNamespace, pairs: int) -> None:
    clean, weights = toys.pictures(4, 8, 9), toys.gaussian()
    objective = toys.objective(toys.Linear(weights), clean, epsilon=100 / 255)
    objective.query_clean()
    attack = NES(epsilon=100 / 255, sigma=12 / 255)
    # So late that there are single pixels only.
    numbers = range(10_000, 10_000 + pairs)
    slopes = attack._slopes(objective, clean, torch.arange(4), objective.streams.fork("attack"), numbers)
    cosines = torch.nn.functional.cosine_similarity(slopes.flatten(1), weights.flatten()[None])
    # Of n Gaussian directions u in d dimensions: E[Σ (w·u) u · w] ÷ |w| |Σ (w·u) u| → √(n ÷ (n + d + 1)).
    expected = math.sqrt(pairs / (pairs + weights.numel() + 1))
    assert float(cosines.mean()) == pytest.approx(expected, abs=0.08)


def test_early_estimates_see_more_of_a_slope_that_is_alike_over_large_cells(toys: SimpleNamespace) -> None:
    clean, coarse = toys.pictures(4, 32, 32), toys.gaussian(4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    objective = toys.objective(toys.Linear(coarse), clean, epsilon=100 / 255)
    objective.query_clean()
    attack, cosines = NES(epsilon=100 / 255, sigma=12 / 255), {}
    for first in (0, 10_000):
        draws = objective.streams.fork(str(first))
        slopes = attack._slopes(objective, clean, torch.arange(4), draws, range(first, first + 20))
        cosines[first] = torch.nn.functional.cosine_similarity(slopes.flatten(1), coarse.flatten()[None])
    assert (cosines[0] > 0.3).all()
    assert float(cosines[10_000].mean()) == pytest.approx(math.sqrt(20 / (20 + 3 * 32 * 32)), abs=0.05)


# --- steps ----------------------------------------------------------------------------------------------------------


def steps_of(toys: SimpleNamespace, metric: object, clean: torch.Tensor, attack: NES) -> list[torch.Tensor]:
    """The images that steps lead to, in order."""
    objective, found = toys.objective(metric, clean, epsilon=attack.epsilon), []
    ask = objective.values

    def listen(candidates: torch.Tensor, rows: torch.Tensor | None = None, **options: bool) -> torch.Tensor:
        if rows is not None and len(rows) == len(clean):
            found.append(candidates.clone())
        return ask(candidates, rows, **options)

    objective.values = listen
    attack.run(objective, clean.clone(), Streams("key", ["a"]))
    return found


def rms(images: torch.Tensor) -> float:
    return float(images.square().mean().sqrt())


def test_a_step_that_gains_is_kept_and_the_next_is_half_as_long_again(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: images.double().mean(dim=(1, 2, 3)).float())
    attack = NES(epsilon=60 / 255, queries=1 + 3 * 401, pairs=200, step=0.05)
    first, second, third = steps_of(toys, metric, clean, attack)
    assert rms(first - clean) == pytest.approx(3 / 255, rel=1e-4)
    assert rms(second - first) == pytest.approx(4.5 / 255, rel=1e-4)
    assert rms(third - second) == pytest.approx(6.75 / 255, rel=1e-4)


def test_a_step_that_does_not_gain_is_taken_back_and_the_next_is_half_as_long(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: -(images - clean).abs().amax(dim=(1, 2, 3)))
    found = steps_of(toys, metric, clean, NES(epsilon=16 / 255, queries=1 + 8 * 21, pairs=10, step=0.5))
    lengths = [rms(step - clean) * 255 for step in found]
    assert lengths == pytest.approx([8, 4, 2, 1, 0.5, 0.25, 0.25, 0.25], rel=1e-4)


def test_momentum_adds_what_is_left_of_earlier_estimates(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(1), toys.gaussian()
    moves = {}
    for momentum in (0.0, 0.9):
        attack = NES(epsilon=60 / 255, queries=1 + 2 * 21, pairs=10, step=0.02, momentum=momentum)
        first, second = steps_of(toys, toys.Linear(weights), clean, attack)
        moves[momentum] = torch.stack([(first - clean).flatten(), (second - first).flatten()])
    assert torch.allclose(moves[0.0][0], moves[0.9][0])
    assert abs(float(torch.corrcoef(moves[0.0])[0, 1])) < 0.3
    assert float(torch.corrcoef(moves[0.9])[0, 1]) > 0.5


def test_a_metric_that_answers_the_same_to_everything_is_survived(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    for paper in (False, True):
        result = NES(queries=90, paper=paper)(toys.Broken(lambda images: images.new_zeros(len(images))), clean)
        assert torch.equal(result.images, clean)
        assert not result.responded.any()


# --- paper ----------------------------------------------------------------------------------------------------------


def test_paper_moves_every_tile_of_32_pixels_alike(toys: SimpleNamespace) -> None:
    clean = torch.full((1, 3, 50, 75), 128 / 255)
    result = NES(queries=200, paper=True)(toys.Linear(toys.gaussian(50, 75)), clean)
    change = levels(result.images) - levels(clean)
    assert np.array_equal(change[..., 32:, :], change[..., :-32, :])
    assert np.array_equal(change[..., 32:], change[..., :-32])
    assert len(np.unique(change)) > 2


def test_paper_probes_in_floating_point_and_steps_a_tenth_of_a_tile(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 32, 32)
    metric = toys.Linear(toys.gaussian(32, 32))
    NES(queries=83, epsilon=20 / 255, paper=True)(metric, clean, micro_batch=1)
    tried = tried_on(metric)
    assert float((tried[1:41] - clean).std()) == pytest.approx(0.001, rel=0.02)
    second = tried[41:81].view(20, 2, 3, 32, 32).double().mean(dim=(0, 1))
    assert float((second - clean[0]).norm()) == pytest.approx(0.1, rel=1e-3)
    assert torch.equal((tried[-1] * 255).round(), (tried[-1] * 255).round())


def test_paper_returns_its_last_image_even_if_it_does_harm(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    metric = toys.Broken(lambda images: -((images - clean) * 255).abs().mean(dim=(1, 2, 3)))
    assert torch.equal(NES(queries=200)(metric, clean).images, clean)
    last = NES(queries=200, paper=True)(metric, clean)
    assert float(last.values) < float(last.clean_values)


# --- strength -------------------------------------------------------------------------------------------------------


def test_more_queries_never_hurt(toys: SimpleNamespace) -> None:
    clean, metric = toys.pictures(2, 24, 32), toys.Linear(toys.gaussian(24, 32))
    attack = NES(queries=600)
    values = [attack(metric, clean, max_forwards=limit).values for limit in (3, 10, 100, 300, 600)]
    assert all((more >= fewer).all() for fewer, more in itertools.pairwise(values))
    assert (values[-1] > values[0]).all()


@pytest.mark.parametrize(("queries", "share"), [(200, 0.3), (1000, 0.6)])
def test_it_finds_a_good_part_of_the_optimum_of_block_weights_and_far_more_than_random_search(
    queries: int, share: float
) -> None:
    metric, clean = Vulnerable(), torch.full((2, 3, 48, 64), 128 / 255)
    result = NES(queries=queries, epsilon=EPSILON)(metric, clean)
    found = (result.values - result.clean_values) / (metric.slope * EPSILON)
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (queries, 3, 48, 64), generator=generator) * 2 - 1
    at_random = (metric(clean[:1] + EPSILON * signs).max() - metric(clean[:1])) / 100 / (metric.slope * EPSILON)
    assert (found > share).all()
    assert (found <= 1 + 1e-5).all()
    assert (found > 5 * at_random).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {"queries": 3},
        {"epsilon": 4.0},
        {"sigma": 0.0},
        {"pairs": 0},
        {"step": 0.0},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
)
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        NES(**parameters)
