"""What a defense makes of bad images: bias towards better, and order that it loses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import biases, gain, order_lost

PAIRS = st.lists(st.tuples(*[st.integers(-3, 3) | st.floats(-3, 3)] * 4), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1), st.booleans())
def test_the_mean_bias_is_the_gain(rows: list[tuple[float, float]], better: bool) -> None:
    before, after = zip(*rows, strict=True)
    found = biases(before, after, diam=7.0, higher_is_better=better)
    assert found.mean() == pytest.approx(gain(before, after, diam=7.0, higher_is_better=better), abs=1e-9)


def test_a_bias_is_positive_where_the_image_looks_better() -> None:
    assert biases([20, 30], [25, 27], diam=50).tolist() == [10, -6]
    assert biases([20, 30], [25, 27], diam=50, higher_is_better=False).tolist() == [-10, 6]


def test_order_is_kept_lost_or_tied_and_unknown_where_there_was_none() -> None:
    # Kept, inverted, tied; the metric itself had a tie, and the wrong order.
    milder, worse = [60, 60, 60, 50, 40], [50, 50, 50, 50, 50]
    found = order_lost(milder, worse, [61, 40, 45, 60, 60], [55, 50, 45, 50, 50])
    np.testing.assert_array_equal(found, [0, 1, 0.5, np.nan, np.nan])


@given(PAIRS)
def test_turning_the_scale_round_loses_nothing_else(rows: list[tuple[float, float, float, float]]) -> None:
    columns = np.array(rows).T
    np.testing.assert_array_equal(order_lost(*columns), order_lost(*-columns, higher_is_better=False))


@given(PAIRS)
def test_a_defense_that_changes_nothing_loses_nothing_and_one_that_negates_loses_all(
    rows: list[tuple[float, float, float, float]],
) -> None:
    milder, worse, *_ = np.array(rows).T
    ordered = milder > worse
    np.testing.assert_array_equal(order_lost(milder, worse, milder, worse), np.where(ordered, 0, np.nan))
    np.testing.assert_array_equal(order_lost(milder, worse, -milder, -worse), np.where(ordered, 1, np.nan))


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one length"):
        order_lost([1, 2], [1], [1, 2], [1, 2])
    with pytest.raises(ConfigurationError, match="diam"):
        biases([1], [2], diam=0)
