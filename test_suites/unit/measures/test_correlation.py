"""SROCC against scipy, rank flips against counting pairs."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ConstantInputWarning, kendalltau, spearmanr

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import rank_flips, srocc

# Few different values, so that ties are common.
TIED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20)
SMOOTH = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=20)
ROWS = TIED | SMOOTH
MONOTONE = [lambda x: 3 * x + 2, np.exp, lambda x: x**3, np.arctan]


def columns(rows: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.array(rows, np.float64).T
    return first, second


# --- SROCC ----------------------------------------------------------------------------------------------------------


@given(ROWS)
def test_srocc_is_that_of_scipy_also_with_ties(rows: list[tuple[float, float]]) -> None:
    first, second = columns(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        expected = float(spearmanr(first, second).statistic)
    assert srocc(first, second) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(ROWS)
def test_srocc_is_symmetric_bounded_and_turns_its_sign_with_the_scale(rows: list[tuple[float, float]]) -> None:
    first, second = columns(rows)
    found = srocc(first, second)
    assume(not math.isnan(found))
    assert -1 <= found <= 1
    assert srocc(second, first) == pytest.approx(found, abs=1e-12)
    assert srocc(first, -second) == pytest.approx(-found, abs=1e-12)


@given(TIED, st.sampled_from(MONOTONE), st.sampled_from(MONOTONE))
def test_srocc_knows_ranks_only(rows: list[tuple[float, float]], one: object, other: object) -> None:
    first, second = columns(rows)
    mapped = srocc(one(first), other(second))  # type: ignore[operator]
    assert mapped == pytest.approx(srocc(first, second), abs=1e-12, nan_ok=True)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20))
def test_srocc_with_itself_is_exactly_one(values: list[int]) -> None:
    assume(len(set(values)) > 1)
    assert srocc(values, values) == 1
    assert srocc(values, [-value for value in values]) == -1


def test_infinite_scores_have_a_rank() -> None:
    assert srocc([1, 2, 3], [-math.inf, 0, math.inf]) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1], [2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([1, math.nan, 3], [1, 2, 3])],
    ids=["none", "one", "constant first", "constant second", "NaN"],
)
def test_srocc_is_undefined_and_says_so_with_nan(first: list[float], second: list[float]) -> None:
    assert math.isnan(srocc(first, second))
    assert math.isnan(srocc(second, first))


# --- rank flips -----------------------------------------------------------------------------------------------------


def counted(before: np.ndarray, after: np.ndarray) -> float:
    """Pair by pair, in words: opposite order is a flip, a tie afterwards half a flip, a tie before no pair."""
    flips = []
    for i, j in itertools.combinations(range(len(before)), 2):
        if before[i] != before[j]:
            same = (before[i] < before[j]) == (after[i] < after[j])
            flips.append(0.5 if after[i] == after[j] else 0.0 if same else 1.0)
    return sum(flips) / len(flips) if flips else math.nan


@given(ROWS)
def test_flips_are_the_counted_pairs(rows: list[tuple[float, float]]) -> None:
    before, after = columns(rows)
    assert rank_flips(before, after) == pytest.approx(counted(before, after), abs=1e-12, nan_ok=True)


@given(ROWS)
def test_flips_are_a_share_and_reversing_the_scale_turns_it_over(rows: list[tuple[float, float]]) -> None:
    before, after = columns(rows)
    found = rank_flips(before, after)
    assume(not math.isnan(found))
    assert 0 <= found <= 1
    assert rank_flips(before, -after) == pytest.approx(1 - found)
    assert rank_flips(before, before) == 0
    assert rank_flips(before, np.zeros_like(after)) == 0.5


@given(st.permutations(range(12)))
def test_without_ties_flips_are_kendalls_tau_on_another_scale(order: list[int]) -> None:
    expected = (1 - kendalltau(range(12), order).statistic) / 2
    assert rank_flips(range(12), order) == pytest.approx(expected)


def test_flips_are_undefined_without_any_order() -> None:
    assert math.isnan(rank_flips([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rank_flips([], []))
    assert math.isnan(rank_flips([1, 2, math.nan], [1, 2, 3]))


@pytest.mark.parametrize(("before", "after"), [([1, 2, 3], [1, 2, 3, 4]), ([1, 2, 3, 4], [1, 2, 3])])
def test_unequal_lengths_are_refused_and_never_cut(before: list[int], after: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="two arrays of one length"):
        rank_flips(before, after)
