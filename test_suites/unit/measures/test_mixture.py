"""Mixtures: the mean over all ways to choose the attacked images, its limits at none and all, and its interval."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import mixture_interval, mixture_srocc, srocc
from iqa_robustness.measures.mixture import MIXES, mixes_of

SCORES = st.integers(3, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-100, 100), min_size=n, max_size=n, unique=True)] * 3)
)


def scores(count: int, *, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Truth, a metric that follows it, and what an attack makes of that."""
    random = np.random.RandomState(seed)
    truth = random.normal(size=count)
    clean = truth + noise * random.normal(size=count)
    return truth, clean, clean + 2 + random.normal(size=count)


@given(st.integers(0, 60), st.floats(0, 1))
def test_every_mix_attacks_the_stated_share(count: int, share: float) -> None:
    chosen = mixes_of(count, share=share, mixes=7)
    assert chosen.shape == (7, count)
    assert set(chosen.sum(axis=1).tolist()) == {round(share * count)}


def test_mixes_differ_favour_no_image_and_are_the_same_every_time() -> None:
    chosen = mixes_of(40, share=0.5, mixes=2000)
    assert len({row.tobytes() for row in chosen}) == 2000
    # A binomial share of 2000 draws has a standard deviation of 0.011.
    assert np.abs(chosen.mean(axis=0) - 0.5).max() < 4.5 * 0.0112
    assert np.array_equal(chosen, mixes_of(40, share=0.5, mixes=2000))


def test_a_larger_share_attacks_the_same_images_and_more() -> None:
    few, many = mixes_of(30, share=0.2), mixes_of(30, share=0.7)
    assert (few <= many).all()


@given(SCORES)
def test_none_and_all_of_the_images_are_the_clean_and_the_attacked_correlation(
    columns: tuple[list[float], list[float], list[float]],
) -> None:
    truth, clean, attacked = columns
    assert mixture_srocc(truth, clean, attacked, share=0) == pytest.approx(srocc(truth, clean))
    assert mixture_srocc(truth, clean, attacked, share=1) == pytest.approx(srocc(truth, attacked))


def test_many_mixes_approach_the_mean_over_all_there_are() -> None:
    truth, clean, attacked = scores(8)
    every = [
        spearmanr(truth, np.where(np.isin(np.arange(8), rows), attacked, clean)).statistic
        for rows in combinations(range(8), 4)
    ]
    found = mixture_srocc(truth, clean, attacked, share=0.5, mixes=4000)
    assert found == pytest.approx(np.mean(every), abs=4 * np.std(every) / 4000**0.5)


def test_the_usual_number_of_mixes_is_a_mean_that_other_mixes_would_hardly_change() -> None:
    truth, clean, attacked = scores(60)
    single = [srocc(truth, np.where(row, attacked, clean)) for row in mixes_of(60, share=0.5)]
    interval = mixture_interval(truth, clean, attacked, range(60), share=0.5)
    assert interval.value == pytest.approx(np.mean(single))
    assert np.std(single) / MIXES**0.5 < (interval.high - interval.low) / 10


def test_an_attack_that_shifts_every_image_alike_harms_only_mixes() -> None:
    """Rank correlation does not see it where all images are attacked: the mix is the harder test."""
    truth = np.arange(40.0)
    found = [mixture_srocc(truth, truth, truth + 100, share=share) for share in (0, 0.1, 0.5, 0.9, 1)]
    assert found[0] == found[-1] == pytest.approx(1)
    assert found[2] < min(found[1], found[3]) < 1


@given(SCORES, st.floats(0, 1))
def test_ranks_alone_count_and_directions_turn_the_sign(
    columns: tuple[list[float], list[float], list[float]], share: float
) -> None:
    truth, clean, attacked = (np.array(column) for column in columns)
    found = mixture_srocc(truth, clean, attacked, share=share, mixes=3)
    assert mixture_srocc(truth, 2 * clean, 2 * attacked, share=share, mixes=3) == pytest.approx(found, nan_ok=True)
    assert mixture_srocc(truth, -clean, -attacked, share=share, mixes=3) == pytest.approx(-found, nan_ok=True)


# --- the interval ---------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """95 of 100 on average; fewer than 86 or all of them have chances below 1 in 1,000 and 1 in 150."""
    target = mixture_srocc(*scores(4000, seed=999), share=0.5)
    found = [mixture_interval(*scores(60, seed=seed), range(60), share=0.5, mixes=10) for seed in range(100)]
    assert sum(one.low <= target <= one.high for one in found) >= 86
    assert all(one.low <= one.value <= one.high for one in found)


def test_copies_of_a_content_bring_no_certainty() -> None:
    columns = scores(30)
    once = mixture_interval(*columns, range(30), share=0.5)
    copied = [np.repeat(column, 10) for column in columns]
    whole = mixture_interval(*copied, np.repeat(range(30), 10).tolist(), share=0.5)
    alone = mixture_interval(*copied, range(300), share=0.5)
    assert whole.high - whole.low > 0.6 * (once.high - once.low)
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_few_contents_give_no_interval() -> None:
    found = mixture_interval(*scores(12), [number % 2 for number in range(12)], share=0.5)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert math.isfinite(found.value)


# --- what has no answer ---------------------------------------------------------------------------------------------


def test_unknown_or_constant_scores_have_none() -> None:
    truth, clean, attacked = scores(10)
    broken = np.where(np.arange(10) == 3, np.nan, attacked)
    for columns in ((truth, clean, broken), (truth * np.nan, clean, attacked), (truth, clean * 0, attacked * 0)):
        assert math.isnan(mixture_srocc(*columns, share=0.5))
        assert math.isnan(mixture_interval(*columns, range(10), share=0.5).value)
    assert math.isnan(mixture_srocc([], [], [], share=0.5))
    assert math.isnan(mixture_interval([], [], [], [], share=0.5).value)


@pytest.mark.parametrize(("share", "mixes"), [(-0.1, 5), (1.1, 5), (math.nan, 5), (0.5, 0)])
def test_what_is_no_share_is_refused(share: float, mixes: int) -> None:
    with pytest.raises(ConfigurationError, match="a mix needs a share from 0 to 1"):
        mixture_srocc([1, 2], [1, 2], [1, 2], share=share, mixes=mixes)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two arrays of one length"):
        mixture_srocc([1, 2, 3], [1, 2, 3], [1, 2], share=0.5)
