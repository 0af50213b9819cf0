"""R_score: its closed form, its scale, and images that did not move."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import r_score, r_values
from iqa_robustness.measures.r_score import LEAST_SHIFT

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


def test_hand_computed_numbers() -> None:
    # x = 0.2 can move by 0.8 at most and moves by 0.08; x = 0.9 by 0.9, and moves by 0.009, downwards.
    assert r_values([20, 90], [28, 89.1], score_range=(0, 100)) == pytest.approx([1.0, 2.0])
    assert r_score([20, 90], [28, 89.1], score_range=(0, 100)) == pytest.approx(1.5)


def test_the_largest_shift_there_is_gives_nought_and_one_beyond_the_range_less() -> None:
    assert r_values([0.0, 1.0, 0.25], [1.0, 0.0, 1.0], score_range=(0, 1)) == pytest.approx([0, 0, 0])
    assert r_values([0.0], [2.0], score_range=(0, 1)) == pytest.approx([-math.log10(2)])


def test_ten_times_the_shift_is_one_less() -> None:
    near, far = (r_score([0.5, 0.4], [0.5 + d, 0.4 + d], score_range=(0, 1)) for d in (0.01, 0.1))
    assert near - far == pytest.approx(1)


def test_what_did_not_move_is_finite_and_the_most_robust() -> None:
    still = r_values([0.3], [0.3], score_range=(0, 1))
    assert still == pytest.approx([math.log10(0.7 / LEAST_SHIFT)])
    assert np.isfinite(still).all()


@given(SCORES, st.floats(-50, 50), st.floats(0.1, 100))
def test_it_depends_on_places_in_the_range_alone(scores: list[float], low: float, width: float) -> None:
    clean, attacked = np.array(scores), np.array(scores)[::-1]
    scaled = r_values(low + width * clean, low + width * attacked, score_range=(low, low + width))
    assert scaled == pytest.approx(r_values(clean, attacked, score_range=(0, 1)), abs=1e-6)


@given(SCORES)
def test_turning_the_scale_round_changes_nothing(scores: list[float]) -> None:
    clean, attacked = np.array(scores), np.array(scores)[::-1]
    turned = r_values(1 - clean, 1 - attacked, score_range=(0, 1))
    assert turned == pytest.approx(r_values(clean, attacked, score_range=(0, 1)), abs=1e-6)


@pytest.mark.parametrize("score_range", [(1, 1), (2, 1), (0, float("nan"))])
def test_an_empty_range_is_refused(score_range: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        r_values([0.5], [0.6], score_range=score_range)


def test_scores_of_different_images_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one length"):
        r_values([0.5, 0.6], [0.6], score_range=(0, 1))
