"""Places of a single entrant: counted by hand, by sorting, and what does not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import rankdata

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import rank_displacement

# Few different values, so that ties are common.
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=2, max_size=15)


def columns(rows: list[tuple[int, int, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before, after, entrants = zip(*rows, strict=True)
    return np.array(before, float), np.array(after, float), np.array(entrants)


def sorted_anew(before: np.ndarray, after: np.ndarray, entrants: np.ndarray) -> float:
    """One contest for each entrant, ranked by scipy with mean ranks for ties."""
    climbed = []
    for row in np.flatnonzero(entrants):
        contest = before.copy()
        contest[row] = after[row]
        climbed.append(rankdata(contest)[row] - rankdata(before)[row])
    return 100 * float(np.mean(climbed)) / (len(before) - 1) if climbed else math.nan


def test_from_the_last_place_to_the_first_is_all_places() -> None:
    assert rank_displacement([1, 2, 3, 4, 5], [9, 0, 0, 0, 0], entrants=[True, False, False, False, False]) == 100
    assert rank_displacement([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], entrants=[False, False, False, False, True]) == -100


def test_one_place_of_four_and_half_of_one() -> None:
    only = [False, True, False, False, False]
    assert rank_displacement([1, 2, 3, 4, 5], [0, 3.5, 0, 0, 0], entrants=only) == 25
    assert rank_displacement([1, 2, 3, 4, 5], [0, 3.0, 0, 0, 0], entrants=only) == 12.5


def test_each_in_turn_climbs_among_clean_ones_even_if_all_together_keep_their_order() -> None:
    clean = np.arange(5.0)
    # All shifted alike: no two attacked images swap, and yet each alone climbs two places, or up to the top.
    assert rank_displacement(clean, clean + 2.5) == pytest.approx(100 * (2 + 2 + 2 + 1 + 0) / 5 / 4)


@given(ROWS)
def test_it_is_what_ranking_each_contest_anew_gives(rows: list[tuple[int, int, bool]]) -> None:
    before, after, entrants = columns(rows)
    found = rank_displacement(before, after, entrants=entrants)
    assert found == pytest.approx(sorted_anew(before, after, entrants), abs=1e-9, nan_ok=True)


@given(ROWS)
def test_who_did_not_enter_may_have_been_attacked_to_anything(rows: list[tuple[int, int, bool]]) -> None:
    before, after, entrants = columns(rows)
    assume(entrants.any())
    other = np.where(entrants, after, np.nan)
    assert rank_displacement(before, other, entrants=entrants) == rank_displacement(before, after, entrants=entrants)


@given(ROWS)
def test_it_knows_places_only_and_turns_its_sign_with_the_scale(rows: list[tuple[int, int, bool]]) -> None:
    before, after, entrants = columns(rows)
    assume(entrants.any())
    found = rank_displacement(before, after, entrants=entrants)
    assert -100 <= found <= 100
    assert rank_displacement(np.exp(before), np.exp(after), entrants=entrants) == pytest.approx(found)
    lower = rank_displacement(before, after, entrants=entrants, higher_is_better=False)
    assert lower == pytest.approx(-found)
    assert rank_displacement(before, before, entrants=entrants) == 0


@given(ROWS)
def test_without_a_choice_everyone_enters_in_turn(rows: list[tuple[int, int, bool]]) -> None:
    before, after, _ = columns(rows)
    everyone = np.ones(len(before), bool)
    assert rank_displacement(before, after) == rank_displacement(before, after, entrants=everyone)


@pytest.mark.parametrize(
    ("before", "after", "entrants"),
    [
        ([], [], []),
        ([1.0], [2.0], [True]),
        ([1.0, 2.0], [3.0, 4.0], [False, False]),
        ([1.0, math.nan], [3.0, 4.0], [True, False]),
        ([1.0, 2.0], [math.nan, 4.0], [True, False]),
    ],
    ids=["nobody", "alone", "no entrant", "a rival without score", "an entrant without score"],
)
def test_without_a_contest_it_is_undefined(before: list[float], after: list[float], entrants: list[bool]) -> None:
    assert math.isnan(rank_displacement(before, after, entrants=entrants))


def test_scores_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one length"):
        rank_displacement([1, 2, 3], [1, 2])
