"""Differential evolution: its operators against their definitions, and the whole of it against scipy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from iqa_robustness.attacks.differential_evolution import DifferentialEvolution, survivors
from iqa_robustness.streams import Streams


def streams(count: int = 2, key: str = "key") -> Streams:
    return Streams(key, [str(number) for number in range(count)])


def population(count: int, size: int, genes: int, *, low: float = 0.45, high: float = 0.55) -> Tensor:
    """Individuals so near to each other that no mutant leaves [0, 1]."""
    drawn = np.random.RandomState(3).uniform(low, high, (count, size, genes))
    return torch.from_numpy(drawn)


# --- the first individuals ------------------------------------------------------------------------------------------


@given(size=st.integers(3, 40), genes=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_each_gene_has_one_individual_in_every_slice_of_its_range(size: int, genes: int) -> None:
    first = DifferentialEvolution(population=size).first(streams(), genes)
    assert first.shape == (2, size, genes)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    slices = (first.double() * size - 1e-4).clamp(min=0).long().sort(dim=1).values
    assert torch.equal(slices, torch.arange(size)[None, :, None].expand_as(slices))


def test_the_order_of_the_slices_differs_between_genes_and_images() -> None:
    order = DifferentialEvolution(population=20).first(streams(), 6).argsort(dim=1)
    columns = {tuple(order[image, :, gene].tolist()) for image in range(2) for gene in range(6)}
    assert len(columns) == 12


# --- mutants --------------------------------------------------------------------------------------------------------


def test_a_trial_is_the_best_individual_plus_a_scaled_difference_of_two_others() -> None:
    parents = population(3, 7, 9)
    values = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 7)))
    trials = DifferentialEvolution(population=7).trials(parents, values, streams(3))
    for image in range(3):
        best = parents[image, values[image].argmax()]
        factors = []
        for number in range(7):
            change, found = trials[image, number] - best, []
            for one, other in itertools.permutations(set(range(7)) - {number}, 2):
                difference = parents[image, one] - parents[image, other]
                factor = float(change @ difference / (difference @ difference))
                if torch.allclose(change, factor * difference, atol=1e-7) and factor > 0:
                    found.append(factor)
            assert len(found) == 1, "exactly one pair of others explains the trial"
            factors += found
        assert max(factors) - min(factors) < 1e-5, "one factor a generation"
        assert 0.5 <= factors[0] < 1


def test_factors_are_drawn_anew_for_each_generation_and_image() -> None:
    parents, values, draws = population(2, 3, 4), torch.tensor([[2.0, 1, 0]] * 2), streams()
    evolution, factors = DifferentialEvolution(population=3), []
    for _ in range(300):
        change = evolution.trials(parents, values, draws)[:, 0] - parents[:, 0]
        difference = parents[:, 1] - parents[:, 2]  # the only two others
        factors.append(((change * difference).sum(1) / difference.square().sum(1)).abs())
    drawn = torch.stack(factors)
    for image in range(2):
        assert stats.kstest(drawn[:, image].numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 0.01
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.2


def test_all_pairs_of_others_are_equally_likely() -> None:
    drawn = streams(1).uniform(2, 5000, 5)[0]
    one, other = DifferentialEvolution(population=5)._others(drawn[0], drawn[1])
    itself = torch.arange(5).expand_as(one)
    assert not ((one == itself) | (other == itself) | (one == other)).any()
    for individual in range(5):
        pairs = torch.bincount(one[:, individual] * 5 + other[:, individual], minlength=25)
        assert int((pairs > 0).sum()) == 12
        assert stats.chisquare(pairs[pairs > 0].numpy()).pvalue > 0.001


def test_genes_outside_their_range_stop_there_or_are_drawn_anew() -> None:
    parents = torch.zeros(1, 200, 4)
    parents[:, ::2] = 1
    clamped = torch.tensor([True, True, False, False])
    values = torch.zeros(1, 200)
    trials = DifferentialEvolution(population=200).trials(parents, values, streams(1), clamped=clamped)[0]
    assert 0 <= float(trials.min()) <= float(trials.max()) <= 1
    # The best one is all ones: a mutant is 1, or 1 − factor, which is at most a half, or outside.
    beyond = (trials > 0.5) & (trials < 1)
    assert not beyond[:, :2].any()
    drawn = trials[:, 2:][beyond[:, 2:]]
    assert len(drawn.unique()) > 30
    assert stats.kstest(drawn.numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 0.01


def test_groups_that_a_mutation_left_as_they_were_are_drawn_anew_if_genes_are_clamped() -> None:
    parents = torch.tensor([0.25, 0.5, 1.0, 0.75, 0.25, 0.0]).expand(1, 300, 6)
    evolution, values = DifferentialEvolution(population=300, group=3), torch.zeros(1, 300)
    assert torch.equal(evolution.trials(parents, values, streams(1)), parents)  # all alike: no difference to add
    clamped = torch.tensor([False, False, True] * 2)
    trials = evolution.trials(parents, values, streams(1), clamped=clamped)[0]
    assert set(trials[:, clamped].unique().tolist()) == {0.0, 1.0}
    assert stats.kstest(trials[:, ~clamped].flatten().numpy(), "uniform").pvalue > 0.01


def test_groups_that_a_mutation_changed_stay_if_genes_are_clamped() -> None:
    parents, values = population(1, 50, 6), torch.zeros(1, 50)
    evolution = DifferentialEvolution(population=50, group=3)
    within = evolution.trials(parents, values, streams(1), clamped=torch.tensor([False, False, True] * 2))
    assert torch.equal(within, evolution.trials(parents, values, streams(1)))


# --- crossover and selection ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crossover", "share"), [(0.0, 1 / 6), (0.3, 0.3 + 0.7 / 6), (1.0, 1.0)])
def test_genes_cross_over_in_groups_and_one_group_always_does(crossover: float, share: float) -> None:
    parents, values = population(1, 400, 30), torch.zeros(1, 400)
    evolution = DifferentialEvolution(population=400, crossover=crossover, group=5)
    changed = (evolution.trials(parents, values, streams(1)) != parents)[0].view(400, 6, 5)
    assert torch.equal(changed.any(dim=2), changed.all(dim=2))
    assert changed.any(dim=2).any(dim=1).all()
    assert float(changed.float().mean()) == pytest.approx(share, abs=0.04)


def test_a_trial_takes_its_parents_place_where_it_is_at_least_as_good() -> None:
    parents, trials = torch.zeros(1, 4, 2), torch.ones(1, 4, 2)
    known = torch.tensor([[1.0, 1.0, 1.0, -torch.inf]])
    kept, values = survivors(parents, known, trials, torch.tensor([[0.5, 1.0, 2.0, -torch.inf]]))
    assert kept[0, :, 0].tolist() == [0, 1, 1, 1]
    assert values.tolist() == [[1.0, 1.0, 2.0, -torch.inf]]


def test_an_image_evolves_alike_in_any_company() -> None:
    evolution = DifferentialEvolution(population=6, crossover=0.4, group=2)

    def evolved(names: list[str]) -> Tensor:
        draws = Streams("key", names)
        genes = evolution.first(draws, 8)
        for _ in range(5):
            genes = evolution.trials(genes, -genes.sum(dim=2), draws)
        return genes

    assert torch.equal(evolved(["c", "a", "b"])[1:], evolved(["a", "b"]))


# --- the whole ------------------------------------------------------------------------------------------------------


def hills(genes: np.ndarray) -> np.ndarray:
    """(…, 6) to (…): a narrow valley with ripples, least at 0.3."""
    away = genes - 0.3
    return (away**2 * np.array([1, 4, 9, 16, 25, 36])).sum(-1) + 0.02 * (1 - np.cos(30 * away)).sum(-1)


@pytest.mark.parametrize("generations", [5, 20])
def test_it_gets_as_far_as_scipy_does(generations: int) -> None:
    runs, size = 60, 30
    draws = streams(runs, "against scipy")
    evolution = DifferentialEvolution(population=size)
    genes = evolution.first(draws, 6).double()
    values = torch.from_numpy(-hills(genes.numpy()))
    for _ in range(generations):
        trials = evolution.trials(genes, values, draws)
        genes, values = survivors(genes, values, trials, torch.from_numpy(-hills(trials.numpy())))
    ours = -values.amax(dim=1).numpy()
    theirs = np.array(
        [
            optimize.differential_evolution(
                lambda x: hills(x.T),
                [(0, 1)] * 6,
                maxiter=generations,
                popsize=size // 6,
                recombination=1,
                tol=0,
                atol=-1,
                polish=False,
                vectorized=True,
                updating="deferred",
                seed=seed,
            ).fun
            for seed in range(runs)
        ]
    )
    assert stats.ks_2samp(np.log(ours), np.log(theirs)).pvalue > 0.05
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.5)
