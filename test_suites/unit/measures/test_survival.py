"""Survival of a gain: what counts as a gain, as half of it, and what the encoder itself does to a score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import survivals, survives_encode

SCORES = hnp.arrays(np.float64, (4, 7), elements=st.integers(-50, 50).map(float))


def test_half_of_the_gain_is_enough_and_less_is_not() -> None:
    clean, attacked = np.full(5, 10.0), np.full(5, 14.0)
    found = survivals(clean, attacked, np.full(5, 3.0), 3 + np.array([4.0, 2.0, 1.9, 0.0, -4.0]))
    assert found.tolist() == [1, 1, 0, 0, 0]
    assert survives_encode(clean, attacked, np.full(5, 3.0), 3 + np.array([4.0, 2.0, 1.9, 0.0, -4.0])) == 0.4


def test_an_image_that_did_not_gain_is_not_counted() -> None:
    clean, attacked = [1.0, 1.0, 1.0], [2.0, 1.0, 0.5]
    assert np.isnan(survivals(clean, attacked, clean, attacked)).tolist() == [False, True, True]
    assert survives_encode(clean, attacked, clean, attacked) == 1


@pytest.mark.parametrize("attacked", [[1.0, 2.0], [0.0, 1.0]], ids=["nothing moved", "all fell"])
def test_where_none_gained_there_is_no_rate(attacked: list[float]) -> None:
    assert math.isnan(survives_encode([1.0, 2.0], attacked, [1.0, 2.0], [5.0, 5.0]))


def test_of_no_images_there_is_no_rate() -> None:
    assert math.isnan(survives_encode([], [], [], []))


@pytest.mark.parametrize("column", range(4))
def test_an_image_without_a_score_is_not_counted(column: int) -> None:
    scores = [np.array([1.0, 1.0]), np.array([3.0, 3.0]), np.array([0.0, 0.0]), np.array([2.0, 0.1])]
    scores[column][0] = math.nan
    assert survives_encode(*scores) == 0


@given(SCORES)
def test_a_lossless_encoder_is_survived_by_everyone(scores: np.ndarray) -> None:
    clean, attacked, *_ = scores
    found = survives_encode(clean, attacked, clean, attacked)
    assert found == 1 or (math.isnan(found) and not (attacked > clean).any())


@given(SCORES, st.integers(-100, 100))
def test_what_the_encoder_does_to_every_picture_alike_does_not_count(scores: np.ndarray, shift: int) -> None:
    clean, attacked, encoded_clean, encoded_attacked = scores
    moved = survivals(clean, attacked, encoded_clean + shift, encoded_attacked + shift)
    np.testing.assert_array_equal(moved, survivals(clean, attacked, encoded_clean, encoded_attacked))


@given(SCORES)
def test_lowering_is_raising_upside_down(scores: np.ndarray) -> None:
    np.testing.assert_array_equal(survivals(*scores, higher_is_wanted=False), survivals(*-scores))


@given(SCORES)
def test_the_rate_is_a_share_counted_by_hand(scores: np.ndarray) -> None:
    kept = [b2 - b1 >= (a2 - a1) / 2 for a1, a2, b1, b2 in scores.T.tolist() if a2 > a1]
    expected = sum(kept) / len(kept) if kept else math.nan
    assert survives_encode(*scores) == pytest.approx(expected, nan_ok=True)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one length"):
        survivals([1, 2], [2, 3], [1], [2])
