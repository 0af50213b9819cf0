"""Ranks with uncertainty: against scipy's Friedman test, Demšar's table of critical values, and simulated truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import bootstrap_ranks, critical_difference
from iqa_robustness.measures.ranking import content_means

# Demšar 2006, table 5(a): q at 0.05 for the two-tailed Nemenyi test.
CRITICAL = {2: 1.960, 3: 2.343, 5: 2.728, 10: 3.164}


def table(shifts: list[float], *, contents: int = 30, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """Numbers of one image a content, contestants differing by their shifts."""
    random = np.random.RandomState(seed)
    common = 5 * random.randn(contents, 1)
    return common + np.array(shifts) + noise * random.randn(contents, len(shifts))


def names(count: int) -> list[str]:
    return [f"scene-{number}" for number in range(count)]


def test_friedmans_p_is_scipys_with_and_without_ties() -> None:
    for values in (table([0, 0.3, 0.6]), np.round(table([0, 0.3, 0.6, 0.1]))):
        found = critical_difference(values, names(len(values)))
        assert found.p == pytest.approx(friedmanchisquare(*values.T).pvalue, rel=1e-9)


@pytest.mark.parametrize(("count", "quantile"), CRITICAL.items())
def test_nemenyis_difference_is_the_published_one(count: int, quantile: float) -> None:
    found = critical_difference(table([0.0] * count), names(30))
    assert found.difference == pytest.approx(quantile * math.sqrt(count * (count + 1) / 180), rel=5e-4)


def test_clear_differences_leave_no_group() -> None:
    found = critical_difference(table([0, 50, 100], contents=40), names(40))
    assert found.p < 1e-6
    assert found.groups == ()
    assert found.mean_ranks == (1.0, 2.0, 3.0)


def test_groups_are_runs_of_neighbours_as_large_as_they_can_be() -> None:
    found = critical_difference(table([100, 0, 0.05, 100.05], contents=40), names(40))
    assert sorted(tuple(sorted(group)) for group in found.groups) == [(0, 3), (1, 2)]


def test_overlapping_groups_are_told_apart() -> None:
    # Mean ranks 1.5, 2, 2.5 (N = 12): neighbours are within the difference of 0.96, the ends are not.
    values = np.array([[1, 2, 3]] * 18 + [[2, 1, 3], [1, 3, 2], [3, 2, 1]] * 4)
    found = critical_difference(values, names(30))
    assert found.p < 0.05
    assert found.groups == ((0, 1), (1, 2))


def test_where_nothing_differs_all_are_one_group() -> None:
    same = np.tile(np.arange(10.0)[:, None], (1, 4))
    found = critical_difference(same, names(10))
    assert (found.p, found.groups, found.mean_ranks) == (1.0, ((0, 1, 2, 3),), (2.5,) * 4)
    once = critical_difference([[1.0, 2.0]], ["scene"])
    assert math.isnan(once.difference)
    assert once.groups == ((0, 1),)


def test_friedman_is_wrong_as_often_as_it_says() -> None:
    wrong = sum(critical_difference(table([0] * 4, seed=seed), names(30)).p < 0.05 for seed in range(300))
    assert 5 <= wrong <= 27  # 15 expected, ± 3.2 standard deviations


def test_images_of_one_content_count_once() -> None:
    values, contents = table([0, 0.4, 0.8]), names(30)
    thrice = critical_difference(np.repeat(values, 3, axis=0), [name for name in contents for _ in range(3)])
    assert thrice == critical_difference(values, contents)
    assert bootstrap_ranks(np.repeat(values, 3, axis=0), [n for n in contents for _ in range(3)]) == bootstrap_ranks(
        values, contents
    )


def test_certain_places_have_no_width_and_doubtful_ones_have() -> None:
    first, second, third = bootstrap_ranks(table([0, 0.01, 50]), names(30))
    assert {first.low, second.low} == {1.0}
    assert {first.high, second.high} == {2.0}
    assert (third.rank, third.low, third.high) == (3.0, 3.0, 3.0)


def test_equal_contestants_share_their_place() -> None:
    values = table([0.0, 5.0])
    doubled = bootstrap_ranks(np.column_stack([values[:, 0], values[:, 0], values[:, 1]]), names(30))
    assert [(one.rank, one.low, one.high) for one in doubled] == [(1.5, 1.5, 1.5), (1.5, 1.5, 1.5), (3.0, 3.0, 3.0)]


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 12))
def test_intervals_hold_their_places_and_places_add_up(seed: int, count: int, contents: int) -> None:
    values = table([0.0] * count, contents=contents, seed=seed)
    found = bootstrap_ranks(values, names(contents))
    assert sum(one.rank for one in found) == pytest.approx(count * (count + 1) / 2)
    assert all(1 <= one.low <= one.rank <= one.high <= count for one in found)


def test_content_means_are_sorted_by_content() -> None:
    means = content_means([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]], ["b", "a", "b"])
    assert means.tolist() == [[3.0, 4.0], [3.0, 5.0]]


@pytest.mark.parametrize(
    ("values", "contents", "what"),
    [
        ([[1.0, float("nan")]], ["a"], "NaN"),
        ([[1.0, 2.0]], ["a", "b"], "2 rows"),
        ([1.0, 2.0], ["a", "b"], "shape"),
        (np.zeros((0, 2)), [], "shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(values: object, contents: list[str], what: str) -> None:
    for compare in (bootstrap_ranks, critical_difference):
        with pytest.raises(ConfigurationError, match=what):
            compare(values, contents)  # type: ignore[operator]


def test_a_single_contestant_is_not_compared() -> None:
    with pytest.raises(ConfigurationError, match="single"):
        critical_difference([[1.0], [2.0]], ["a", "b"])
