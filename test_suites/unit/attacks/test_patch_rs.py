"""Patch-RS: one square of corner colours, moved and recoloured on the published schedule, within its area."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.objectives import Towards
from iqa_robustness.attacks.patch_rs import PatchRS, _random_squares
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import VulnerableToPixels
from iqa_robustness.streams import Streams


def levels(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255).astype(int)


def candidates_of(metric: object, count: int) -> np.ndarray:
    """(queries, count, 3, H, W) levels: the rows of every forward pass, without padding."""
    return np.stack([levels(batch[:count]) for batch in metric.batches])


def places_of(tried: np.ndarray, clean: np.ndarray) -> list[tuple[int, int]]:
    """Top left corner of what differs from the clean image, which has no corner colour."""
    return [tuple(int(axis.min()) for axis in np.nonzero((one != clean).any(axis=0))) for one in tried]


def patches_of(tried: np.ndarray, places: list[tuple[int, int]], side: int) -> np.ndarray:
    return np.stack([one[:, t : t + side, w : w + side] for one, (t, w) in zip(tried, places, strict=True)])


def traced(toys: SimpleNamespace, attack: PatchRS, *, size: tuple[int, int] = (14, 17), accept: bool = True) -> tuple:
    """Levels, places and patches of all queries after the clean one, of one image, and which were accepted."""
    clean = toys.pictures(1, *size)
    metric = toys.Linear(toys.gaussian(*size)) if accept else toys.Broken(lambda images: images.new_zeros(len(images)))
    attack(metric, clean, micro_batch=1)
    tried = candidates_of(metric, 1)[1:, 0]
    places = places_of(tried, levels(clean)[0])
    values = (
        (tried / 255 * toys.gaussian(*size).double().numpy()).sum(axis=(1, 2, 3)) if accept else -np.arange(len(tried))
    )
    best, accepted = -np.inf, []
    for value in values:
        accepted.append(bool(value > best))
        best = max(best, value)
    return tried, places, patches_of(tried, places, attack.side), accepted


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [3, 4, 17, 90])
def test_the_queries_are_spent_exactly_the_clean_image_included(toys: SimpleNamespace, queries: int) -> None:
    metric = toys.Linear(toys.gaussian())
    result = PatchRS(queries=queries, side=3)(metric, toys.pictures(3))
    assert result.forwards.tolist() == [queries] * 3
    assert metric.rows == 3 * queries
    assert result.backwards.tolist() == [0] * 3


@pytest.mark.parametrize("queries", [3, 17, 90])
def test_paper_leaves_one_for_its_last_image(toys: SimpleNamespace, queries: int) -> None:
    result = PatchRS(queries=queries, side=3, paper=True)(toys.Linear(toys.gaussian()), toys.pictures(3))
    assert set(result.forwards.tolist()) <= {queries - 1, queries}


def test_images_that_reach_a_target_stop_and_the_others_go_on_as_if_alone(toys: SimpleNamespace) -> None:
    clean = torch.cat([toys.pictures(1, low=60, high=120), toys.pictures(1, low=120, high=200)])
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[0].mean()) + 8 / 255, tolerance=2 / 255)
    attack = PatchRS(queries=90, side=3)
    result = attack(metric, clean, ids=["a", "b"], goal=goal)
    assert goal.reached(result.values).tolist() == [True, False]
    assert int(result.forwards[0]) < int(result.forwards[1]) == 90
    assert torch.equal(attack(metric, clean[1:], ids=["b"], goal=goal).images[0], result.images[1])


# --- the patch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [False, True])
def test_every_candidate_is_one_full_square_of_corner_colours(toys: SimpleNamespace, paper: bool) -> None:
    tried, places, patches, _ = traced(toys, PatchRS(queries=150, side=5, paper=paper))
    clean = levels(toys.pictures(1, 14, 17))[0]
    for one, (top, left) in zip(tried, places, strict=True):
        changed = (one != clean).any(axis=0)
        assert changed.sum() == 25
        assert changed[top : top + 5, left : left + 5].all()
    assert set(np.unique(patches)) == {0, 255}


@given(
    side=st.integers(1, 12),
    queries=st.integers(3, 40),
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    paper=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_no_size_and_side_leave_the_budget(
    toys: SimpleNamespace, side: int, queries: int, size: tuple[int, int], paper: bool
) -> None:
    clean = toys.pictures(2, *size, low=0, high=256)
    result = PatchRS(side=side, queries=queries, paper=paper)(toys.Linear(toys.gaussian(*size)), clean)
    changed = (levels(result.images) != levels(clean)).any(axis=1)
    assert changed.sum(axis=(1, 2)).max() <= side**2
    assert paper or (result.values >= result.clean_values).all()


def test_the_first_patch_is_made_of_small_squares_of_all_eight_colours() -> None:
    patches = _random_squares(Streams("key", ["a", "b"]), 25)
    assert patches.shape == (2, 3, 25, 25)
    assert set(patches.unique().tolist()) == {0, 1}
    codes = (patches * torch.tensor([1.0, 2, 4])[:, None, None]).sum(dim=1)
    for code in codes:
        shares = torch.bincount(code.flatten().long(), minlength=8) / code.numel()
        assert shares.min() > 0.05
        alike = (code[:, 1:] == code[:, :-1]).float().mean()
        assert alike > 0.3  # against 1/8 for single pixels
    assert not torch.equal(codes[0], codes[1])
    assert torch.equal(_random_squares(Streams("key", ["b"]), 25)[0], patches[1])


@pytest.mark.parametrize("side", [1, 2, 3, 7, 13])
def test_first_squares_are_smaller_than_the_root_of_the_side(side: int) -> None:
    patch = _random_squares(Streams("key", ["a"]), side)[0]
    assert patch.shape == (3, side, side)
    assert side < 5 or len(patch.flatten(1).unique(dim=1).T) > 4


# --- moves and colours ----------------------------------------------------------------------------------------------


def test_every_fourth_query_moves_the_patch_and_the_others_recolour_a_square_of_it(toys: SimpleNamespace) -> None:
    attack = PatchRS(queries=200, side=5)
    _, places, patches, accepted = traced(toys, attack)
    current = 0
    for query in range(1, len(places)):
        if query % 4 == 0 and max(attack._reach(query, 14, 17)) > 0:
            assert np.array_equal(patches[query], patches[current])
        else:
            assert places[query] == places[current]
            changed = (patches[query] != patches[current]).any(axis=0)
            rows, columns = np.nonzero(changed)
            assert len(rows) > 0, "a query that changes nothing is wasted"
            inner = attack._inner_side(query, 5)
            assert max(np.ptp(rows), np.ptp(columns)) < inner
            if query >= attack._single_channels_from(5):
                assert (patches[query] != patches[current]).sum() == 1
        if accepted[query]:
            current = query


def test_paper_may_propose_the_colours_that_are_there(toys: SimpleNamespace) -> None:
    _, places, patches, accepted = traced(toys, PatchRS(queries=600, side=3, paper=True), accept=False)
    assert accepted.count(True) == 1
    repainted = [query for query in range(1, len(places)) if query % 4]
    assert any(np.array_equal(patches[query], patches[0]) for query in repainted)


# Croce et al.: p = 0.8 is halved after these of 10,000 queries; the inner side is ⌊√p · side⌋, at least 1.
PUBLISHED = {0: 1, 10: 1, 11: 2, 50: 2, 51: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 6001: 256, 8001: 512}


@pytest.mark.parametrize("side", [7, 13, 25])
def test_the_inner_side_follows_the_published_schedule(side: int) -> None:
    attack = PatchRS(queries=10_000, side=side)
    for query, divisor in PUBLISHED.items():
        assert attack._inner_side(query, side) == max(int(math.sqrt(0.8 / divisor) * side), 1), query
    smallest = next(query for query in PUBLISHED if int(math.sqrt(0.8 / PUBLISHED[query]) * side) <= 1)
    assert attack._single_channels_from(side) == smallest + (10_000 - smallest) // 2


def test_the_reach_shrinks_from_three_quarters_of_the_image_to_nothing() -> None:
    attack, published = PatchRS(queries=1000), PatchRS(queries=1000, paper=True)
    assert attack._reach(0, 192, 256) == (144, 192)
    assert published._reach(0, 192, 256) == (144, 144)
    reaches = [attack._reach(query, 192, 256) for query in range(1000)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(reaches))
    assert reaches[-1] == (0, 0)
    assert reaches[500] == (72, 96)


def test_moves_stay_within_reach_and_within_the_image(toys: SimpleNamespace) -> None:
    attack = PatchRS(queries=400, side=3)
    _, places, _, _ = traced(toys, attack, size=(20, 30), accept=False)
    for query in range(4, len(places), 4):
        down, across = attack._reach(query, 20, 30)
        assert abs(places[query][0] - places[0][0]) <= down
        assert abs(places[query][1] - places[0][1]) <= across
    assert len(set(places)) > 30


def first_places(toys: SimpleNamespace, *, paper: bool, side: int, size: tuple[int, int]) -> set[tuple[int, int]]:
    clean = toys.pictures(1, *size).repeat(200, 1, 1, 1)
    metric = toys.Linear(toys.gaussian(*size))
    PatchRS(queries=3 + paper, side=side, paper=paper)(metric, clean, micro_batch=200)
    return set(places_of(candidates_of(metric, 200)[1], levels(clean)[0]))


def test_first_places_reach_the_last_row_and_column_but_in_the_published_code(toys: SimpleNamespace) -> None:
    assert first_places(toys, paper=False, side=4, size=(6, 7)) == {
        (row, column) for row in range(3) for column in range(4)
    }
    assert first_places(toys, paper=False, side=4, size=(5, 5)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert first_places(toys, paper=True, side=4, size=(5, 5)) == {(0, 0)}
    assert first_places(toys, paper=True, side=5, size=(5, 5)) == {(0, 0)}


def test_paper_draws_the_same_for_every_image_whatever_the_seed(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 12, 13).expand(3, -1, -1, -1).clone()
    metric = toys.Linear(toys.gaussian(12, 13))
    published = [PatchRS(queries=60, side=4, paper=True)(metric, clean, seed=seed).images for seed in (0, 1)]
    assert torch.equal(published[0], published[1])
    assert torch.equal(published[0][0], published[0][2])
    ours = [PatchRS(queries=60, side=4)(metric, clean, seed=seed).images for seed in (0, 1)]
    assert not torch.equal(ours[0], ours[1])
    assert not torch.equal(ours[0][0], ours[0][2])


def test_paper_returns_its_patch_even_if_it_does_harm(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Broken(lambda images: -(images - clean[0]).abs().amax(dim=(1, 2, 3)))
    best = PatchRS(queries=30, side=2)(metric, clean[:1])
    last = PatchRS(queries=30, side=2, paper=True)(metric, clean[:1])
    assert torch.equal(best.images, clean[:1])
    assert (last.images != clean[:1]).any(dim=1).sum() == 4
    assert float(last.values) < float(last.clean_values)


# --- strength -------------------------------------------------------------------------------------------------------


def best_patch(weights: torch.Tensor, clean: torch.Tensor, side: int) -> torch.Tensor:
    """The largest gain of a patch on a linear metric: each value black or white, at the best place."""
    gains = torch.maximum(weights * (1 - clean), -weights * clean).sum(dim=1)
    return gains.unfold(1, side, 1).unfold(2, side, 1).sum(dim=(3, 4)).flatten(1).amax(dim=1)


@pytest.mark.parametrize(("queries", "share"), [(300, 0.5), (1500, 0.7)])
def test_it_reaches_a_good_part_of_the_best_patch_of_a_linear_metric(
    toys: SimpleNamespace, queries: int, share: float
) -> None:
    clean, weights = toys.pictures(3, 32, 32), toys.gaussian(32, 32)
    metric = toys.Linear(weights)
    metric._record = lambda images: None
    result = PatchRS(queries=queries, side=7)(metric, clean)
    reached = (result.values - result.clean_values) / best_patch(weights, clean, 7)
    assert (reached > share).all()
    assert (reached <= 1 + 1e-5).all()


def test_it_gains_more_than_patches_drawn_at_random() -> None:
    metric, clean, queries = VulnerableToPixels(), torch.full((3, 3, 48, 64), 128 / 255), 200
    result = PatchRS(queries=queries, side=7)(metric, clean)
    random, best = np.random.RandomState(0), 0.0
    for _ in range(queries):
        painted, (top, left) = clean[:1].clone(), (random.randint(42), random.randint(58))
        painted[:, :, top : top + 7, left : left + 7] = torch.from_numpy(random.randint(0, 2, (3, 7, 7))).float()
        best = max(best, float(metric(painted) - metric(clean[:1])) / 100)
    assert (result.values - result.clean_values > 2 * best).all()


def test_the_strengths_are_the_published_areas() -> None:
    assert [PatchRS(**fields).budget.count for fields in PatchRS.strengths.values()] == [49, 169, 625]


@pytest.mark.parametrize("parameters", [{"queries": 2}, {"side": 0}, {"side": -1}])
def test_impossible_parameters_are_refused_when_the_attack_is_made(parameters: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        PatchRS(**parameters)
