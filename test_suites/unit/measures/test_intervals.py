"""Confidence intervals: what they contain, how wide they are, and how often they are right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from scipy.stats import t as student

from iqa_robustness.measures import (
    Interval,
    mean_interval,
    percentile_range_interval,
    rank_displacement,
    rank_displacement_without,
    rank_flips,
    rank_flips_without,
    share_interval,
    srocc,
    srocc_without,
    statistic_interval,
)

# Values with the content of each, in few contents and whole numbers, so that ties and equal contents are common.
CLUSTERED = st.lists(st.tuples(st.floats(-100, 100) | st.integers(-2, 2), st.integers(0, 6)), min_size=1, max_size=30)


def columns(rows: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    values, contents = zip(*rows, strict=True)
    return [float(value) for value in values], list(contents)


def interval_of_mean(values: list[float], contents: list[int]) -> Interval:
    array = np.array(values)
    return statistic_interval(lambda rows: float(array[rows].mean()), contents)


BOTH: list[Callable[[list[float], list[int]], Interval]] = [mean_interval, interval_of_mean]  # type: ignore[list-item]


# --- properties -----------------------------------------------------------------------------------------------------


@given(CLUSTERED)
@settings(max_examples=60)
def test_an_interval_of_a_mean_holds_the_mean(rows: list[tuple[float, int]]) -> None:
    values, contents = columns(rows)
    found = mean_interval(values, contents)
    assert found.value == pytest.approx(float(np.mean(values)), abs=1e-9)
    assert found.low <= found.value <= found.high
    assert found.clusters == len(set(contents))


@given(CLUSTERED, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_equal_data_give_equal_intervals_also_between_draws_of_others(
    rows: list[tuple[float, int]], other: object
) -> None:
    values, contents = columns(rows)
    first = mean_interval(values, contents)
    np.random.seed(other.randrange(1000))  # type: ignore[attr-defined]  # noqa: NPY002 - the global state must not matter
    assert mean_interval(values, contents) == first


def test_intervals_are_frozen() -> None:
    # Verdicts rest on them; a record that is judged again gets the same one.
    found = mean_interval([1, 2, 4, 8, 16, 32, 3, 5], [0, 1, 2, 3, 4, 5, 6, 6])
    assert (found.low, found.high) == (pytest.approx(-0.553059), pytest.approx(52.275174))


@pytest.mark.parametrize("interval", BOTH, ids=["mean", "statistic"])
def test_an_interval_moves_with_origin_and_unit(interval: Callable[..., Interval]) -> None:
    values = np.random.RandomState(0).gamma(1.5, size=24)
    contents = np.repeat(np.arange(8), 3).tolist()
    plain, moved = interval(values, contents), interval(7 + 3 * values, contents)
    assert moved.low == pytest.approx(7 + 3 * plain.low)
    assert moved.high == pytest.approx(7 + 3 * plain.high)


@pytest.mark.parametrize("interval", BOTH, ids=["mean", "statistic"])
def test_an_interval_is_wider_for_fewer_contents_and_for_more_confidence(interval: Callable[..., Interval]) -> None:
    # Neighbours are alike, as crops of one photograph are.
    values = np.sort(np.random.RandomState(0).normal(size=48))
    widths = []
    for contents in (48, 24, 12, 6):
        found = interval(values, np.repeat(np.arange(contents), 48 // contents).tolist())
        assert found.clusters == contents
        widths.append(found.high - found.low)
    assert widths == sorted(widths)
    assert widths[-1] > 1.5 * widths[0]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_a_higher_level_takes_in_the_lower(level: float) -> None:
    values = np.random.RandomState(0).gamma(1.5, size=30)
    narrow, wide = mean_interval(values, range(30), level=level - 0.1), mean_interval(values, range(30), level=level)
    assert wide.low < narrow.low <= narrow.high < wide.high


def test_an_interval_follows_the_skew() -> None:
    values = np.random.RandomState(3).lognormal(sigma=1.0, size=30)
    found = mean_interval(values, range(30))
    assert found.high - found.value > 1.3 * (found.value - found.low)


@given(CLUSTERED)
@settings(max_examples=60)
def test_an_interval_of_a_mean_is_never_tighter_than_students(rows: list[tuple[float, int]]) -> None:
    # Also with two or three contents, or where one alone moved: resamples without spread say nothing about it.
    values, contents = columns(rows)
    found = mean_interval(values, contents)
    labels = np.unique(contents, return_inverse=True)[1]
    k = int(labels.max()) + 1
    if k < 2:
        assert (found.low, found.high) == (-math.inf, math.inf)
        return
    residuals = np.bincount(labels, np.array(values) - np.mean(values))
    error = math.sqrt(k / (k - 1) * float((residuals**2).sum())) / len(values)
    reach = float(student.ppf(0.975, k - 1)) * error
    assert found.value - found.low >= reach - 1e-6
    assert found.high - found.value >= reach - 1e-6


def test_one_content_that_moved_among_ten_does_not_end_the_interval_at_the_mean() -> None:
    found = mean_interval([0.0] * 9 + [5.0], range(10))
    assert found.high > 2 * found.value


def test_without_clusters_and_skew_it_is_nearly_students() -> None:
    values = np.random.RandomState(0).normal(size=200)
    found = mean_interval(values, range(200))
    reach = float(student.ppf(0.975, 199)) * values.std(ddof=1) / math.sqrt(200)
    assert found.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)


# --- degenerate input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]], ids=["none", "all NaN"])
def test_without_numbers_there_is_no_estimate(values: list[float]) -> None:
    found = mean_interval(values, range(len(values)))
    assert math.isnan(found.value)
    assert (found.low, found.high, found.clusters) == (-math.inf, math.inf, 0)


def test_one_content_has_an_estimate_and_no_bounds() -> None:
    assert mean_interval([1, 2, 6], ["a"] * 3) == Interval(value=3, low=-math.inf, high=math.inf, clusters=1)
    assert interval_of_mean([1, 2, 6, 3], [0, 0, 1, 1]) == Interval(value=3, low=-math.inf, high=math.inf, clusters=2)


@given(st.floats(-1e6, 1e6), st.integers(2, 8))
def test_equal_values_leave_no_doubt(value: float, count: int) -> None:
    found = mean_interval([value] * count, range(count))
    assert found.low == found.high == found.value == pytest.approx(value)


@given(CLUSTERED, st.integers(1, 5))
@settings(max_examples=30)
def test_nan_are_left_out_with_their_contents(rows: list[tuple[float, int]], unknown: int) -> None:
    values, contents = columns(rows)
    with_gaps = mean_interval([math.nan] * unknown + values, [99] * unknown + contents)
    assert with_gaps == mean_interval(values, contents)


@pytest.mark.parametrize("values", [[1, 2, math.inf], [1, -math.inf, 2]])
def test_an_infinite_value_leaves_the_bounds_open_without_a_warning(values: list[float]) -> None:
    with np.errstate(all="raise"):
        found = mean_interval(values, range(3))
    assert math.isinf(found.value)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_contents_are_told_apart_by_their_names() -> None:
    assert mean_interval([1, 2, 3, 4], ["a", "b", "a", "b"]).clusters == 2
    assert mean_interval([1, 2, 3, 4], [("a", 1), ("a", 2), ("b", 1), ("b", 2)]).clusters == 4


# --- the jackknife --------------------------------------------------------------------------------------------------


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.RandomState(1).normal(size=12)
    found = statistic_interval(lambda rows: float(values[rows].mean()), range(12))
    reach = float(student.ppf(0.975, 11)) * values.std(ddof=1) / math.sqrt(12)
    assert found.low == pytest.approx(values.mean() - reach)
    assert found.high == pytest.approx(values.mean() + reach)


def test_a_correlation_stays_within_one_and_holds_its_value() -> None:
    random = np.random.RandomState(2)
    first = random.normal(size=20)
    for noise in (0.0, 0.01, 0.3, 2.0):
        second = first + noise * random.normal(size=20)
        found = statistic_interval(lambda rows, b=second: srocc(first[rows], b[rows]), range(20), scale="correlation")
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert (found.high - found.low > 1e-8) == (found.value < 1)


def test_the_sign_of_a_correlation_mirrors_its_interval() -> None:
    random = np.random.RandomState(4)
    a, b = random.normal(size=(2, 30))
    up = statistic_interval(lambda rows: srocc(a[rows], b[rows]), range(30), scale="correlation")
    down = statistic_interval(lambda rows: srocc(a[rows], -b[rows]), range(30), scale="correlation")
    assert (down.low, down.high) == (pytest.approx(-up.high), pytest.approx(-up.low))


def test_a_statistic_that_one_content_alone_defines_has_no_bounds() -> None:
    # Without content 0 all scores are equal and SROCC does not exist.
    scores, mos = np.array([5.0, 1, 1, 1, 1, 1]), np.arange(6.0)
    found = statistic_interval(lambda rows: srocc(mos[rows], scores[rows]), range(6), scale="correlation")
    assert not math.isnan(found.value)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_an_undefined_statistic_stays_undefined() -> None:
    found = statistic_interval(lambda _: math.nan, range(6))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-math.inf, math.inf)


@given(CLUSTERED)
@settings(max_examples=30)
def test_the_jackknifes_bootstrap_of_a_mean_is_the_means_own(rows: list[tuple[float, int]]) -> None:
    values, _ = columns(rows)
    array, images = np.array(values), range(len(values))
    direct = mean_interval(values, images)
    through = statistic_interval(lambda rows: float(array[rows].mean()), images, bootstrap=True)
    if len(values) < 3:
        assert (through.low, through.high) == (-math.inf, math.inf)
    else:
        assert (through.low, through.high) == (
            pytest.approx(direct.low, abs=1e-6),
            pytest.approx(direct.high, abs=1e-6),
        )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 5)), min_size=4, max_size=25))
@settings(max_examples=60)
def test_quick_ways_without_a_cluster_are_the_slow_one(rows: list[tuple[int, int, int]]) -> None:
    # Few different scores, so that ties are common; contents of unequal size.
    first, second, labels = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    of = np.unique(labels, return_inverse=True)[1]
    assume(of.max() >= 1)
    entrants = first > 0
    quick = [
        (srocc, srocc_without(first, second, of)),
        (rank_flips, rank_flips_without(first, second, of)),
        (rank_displacement, rank_displacement_without(first, second, of)),
    ]
    for statistic, found in quick:
        slow = [statistic(first[of != c], second[of != c]) for c in range(of.max() + 1)]
        assert found == pytest.approx(slow, abs=1e-9, nan_ok=True)
    chosen = [
        rank_displacement(first[k], second[k], entrants=entrants[k]) for k in (of != c for c in range(of.max() + 1))
    ]
    found = rank_displacement_without(first, second, of, entrants=entrants)
    assert found == pytest.approx(chosen, abs=1e-9, nan_ok=True)


# --- shares ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=40)
def test_a_share_of_independent_images_has_at_least_the_exact_bounds(successes: int, failures: int) -> None:
    values = [1.0] * successes + [0.0] * failures
    found = share_interval(values, range(len(values)))
    exact = binomtest(successes, len(values)).proportion_ci(0.95, method="exact")
    assert found.value == pytest.approx(successes / len(values))
    assert found.low <= exact.low + 1e-9
    assert found.high >= exact.high - 1e-9
    # Student's loss for an unknown variance is all that is added.
    assert found.high - found.low <= (exact.high - exact.low) * (1 + 4 / len(values)) + 0.02


def test_a_share_of_images_that_are_all_alike_is_as_sure_as_its_contents_are_many() -> None:
    found = share_interval([0.0] * 50, np.repeat(np.arange(10), 5).tolist())
    assert (found.low, found.clusters) == (0.0, 10)
    assert found.high == pytest.approx(1 - 0.025**0.1)
    assert share_interval([1.0, math.nan], ["a", "b"]) == Interval(
        value=1.0, low=pytest.approx(0.025), high=1.0, clusters=1
    )
    assert math.isnan(share_interval([math.nan], ["a"]).value)


def test_images_of_one_content_widen_a_share() -> None:
    values = ([1.0] * 5 + [0.0] * 15) * 2
    alone = share_interval(values, range(40))
    together = share_interval(values, np.repeat(np.arange(8), 5).tolist())
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


# --- percentiles ----------------------------------------------------------------------------------------------------


def test_the_width_of_a_distribution_is_bounded_where_there_are_images_enough() -> None:
    random = np.random.RandomState(0)
    for count, bounded in ((50, False), (72, False), (80, True), (400, True)):
        values = random.normal(size=count)
        found = percentile_range_interval(values, range(count), percentiles=(5, 95))
        assert found.value == pytest.approx(float(np.subtract(*np.percentile(values, [95, 5]))))
        assert 0 <= found.low < found.value < found.high
        assert math.isfinite(found.high) == bounded


def test_a_single_percentile_lies_between_the_exact_order_statistics() -> None:
    values = np.sort(np.random.RandomState(1).gamma(2.0, size=200))
    found = percentile_range_interval([*values, *([-1000.0] * 200)], range(400), percentiles=(25, 75))
    # The 75th of all is the median of the upper half: binomial ranks of 400 at 0.75, from the top.
    ranks = binom.ppf([0.025, 0.975], 400, 0.75).astype(int) - 200
    assert values[ranks[0] - 3] <= found.low - 1000 <= values[ranks[0] + 3]
    assert values[ranks[1] - 3] <= found.high - 1000 <= values[ranks[1] + 3]


def test_equal_scores_have_no_width_and_few_contents_no_bounds() -> None:
    found = percentile_range_interval([5.0] * 60, range(60), percentiles=(5, 95))
    assert (found.value, found.low) == (0.0, 0.0)
    few = percentile_range_interval([1.0, 2, 3, 4], ["a", "a", "b", "b"], percentiles=(5, 95))
    assert (few.low, few.high) == (-math.inf, math.inf)
    assert math.isnan(percentile_range_interval([], [], percentiles=(5, 95)).value)


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_within_cuts_bounds_and_leaves_the_estimate() -> None:
    wide = Interval(value=8.9, low=-82.2, high=103.0, clusters=4)
    assert wide.within(0.0, 100.0) == Interval(value=8.9, low=0.0, high=100.0, clusters=4)
    assert wide.within(-math.inf, math.inf) == wide
    assert Interval.unknown(0.5, 1).within(0.0, 1.0) == Interval(value=0.5, low=0.0, high=1.0, clusters=1)
