"""Certificates: published constants, scipy's distributions, and the promises behind them by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, norm

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import (
    certified_delta,
    certified_radii,
    certified_radius,
    certified_width,
    clopper_pearson_bounds,
    clopper_pearson_lower,
    family_wise,
    median_ranks,
    percentile_ranks,
)

COUNTS = st.integers(1, 1500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ALPHAS = st.sampled_from([0.001, 0.01, 0.05, 0.3])
SIGMAS = st.floats(0.05, 1)


# --- the bound of a share -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_a", "bound"), [(1000, 0.993116), (950, 0.925047), (900, 0.867464), (600, 0.551075)])
def test_clopper_pearson_at_the_benchmarks_sizes(n_a: int, bound: float) -> None:
    assert clopper_pearson_lower(n_a, 1000, alpha=0.001) == pytest.approx(bound, abs=5e-7)


@given(COUNTS, ALPHAS)
@settings(max_examples=60)
def test_clopper_pearson_is_scipys_exact_bound(counts: tuple[int, int], alpha: float) -> None:
    n_a, n = counts
    exact = binomtest(n_a, n, alternative="greater").proportion_ci(confidence_level=1 - alpha, method="exact")
    assert clopper_pearson_lower(n_a, n, alpha=alpha) == pytest.approx(float(exact.low), abs=1e-9)


@given(COUNTS, ALPHAS)
@settings(max_examples=60)
def test_at_the_bound_as_many_successes_have_chance_alpha(counts: tuple[int, int], alpha: float) -> None:
    n_a, n = counts
    bound = clopper_pearson_lower(n_a, n, alpha=alpha)
    assert bound <= n_a / n
    if n_a:
        assert float(binom.sf(n_a - 1, n, bound)) == pytest.approx(alpha, rel=1e-6)
    else:
        assert bound == 0


def test_all_successes_leave_alpha_to_the_power_of_one_in_n() -> None:
    assert clopper_pearson_lower(50, 50, alpha=0.05) == pytest.approx(0.05 ** (1 / 50))


@pytest.mark.parametrize(("n_a", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(n_a: int, n: int) -> None:
    with pytest.raises(ConfigurationError, match=f"got n_a={n_a}, n={n}"):
        clopper_pearson_lower(n_a, n, alpha=0.05)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_alpha_lies_strictly_between_zero_and_one(alpha: float) -> None:
    with pytest.raises(ConfigurationError, match="alpha must lie strictly between 0 and 1"):
        clopper_pearson_lower(5, 10, alpha=alpha)
    with pytest.raises(ConfigurationError, match="alpha"):
        median_ranks(10, sigma=1, epsilon=0.1, alpha=alpha)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), ALPHAS)
@settings(max_examples=40)
def test_bounds_of_many_counts_are_those_of_each(counts: list[int], alpha: float) -> None:
    lower, upper = clopper_pearson_bounds(counts, 40, alpha=alpha)
    for n_a, low, high in zip(counts, lower, upper, strict=True):
        exact = binomtest(n_a, 40, alternative="less").proportion_ci(confidence_level=1 - alpha, method="exact")
        assert high == pytest.approx(float(exact.high), abs=1e-9)
        assert low == clopper_pearson_lower(n_a, 40, alpha=alpha)
        assert 0 <= low <= n_a / 40 <= high <= 1
    mixed, _ = clopper_pearson_bounds(counts, [40 + n_a for n_a in counts], alpha=alpha)
    assert mixed.tolist() == [clopper_pearson_lower(n_a, 40 + n_a, alpha=alpha) for n_a in counts]


def test_one_impossible_count_among_many_is_named() -> None:
    with pytest.raises(ConfigurationError, match="got n_a=7, n=5"):
        clopper_pearson_bounds([[1, 2], [7, 3]], 5, alpha=0.05)


@pytest.mark.parametrize(
    ("n_a", "bound"),
    [
        (999, 0.990805),
        (990, 0.976036),
        (800, 0.758450),
        (700, 0.653472),
        (550, 0.500676),
        (549, 0.499673),
        (548, 0.498670),
        (547, 0.497668),
    ],
)
def test_the_rest_of_the_golden_table(n_a: int, bound: float) -> None:
    assert clopper_pearson_lower(n_a, 1000, alpha=0.001) == pytest.approx(bound, abs=5e-7)


# --- the radius -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_a", "radius"),
    [
        (1000, 0.295592),
        (999, 0.282918),
        (990, 0.237361),
        (950, 0.172783),
        (900, 0.133738),
        (800, 0.084159),
        (700, 0.047365),
        (600, 0.015405),
        (550, 0.000203),
    ],
)
def test_radii_at_the_benchmarks_sizes(n_a: int, radius: float) -> None:
    assert certified_radius(n_a, 1000, sigma=0.12, alpha=0.001) == pytest.approx(radius, abs=5e-7)


@pytest.mark.parametrize("n_a", [549, 500, 1, 0])
def test_below_a_majority_that_is_sure_it_abstains(n_a: int) -> None:
    assert certified_radius(n_a, 1000, sigma=0.12, alpha=0.001) == 0.0


@given(COUNTS, SIGMAS, ALPHAS)
@settings(max_examples=60)
def test_the_radius_is_cohens_formula_where_the_bound_is_a_majority(
    counts: tuple[int, int], sigma: float, alpha: float
) -> None:
    n_a, n = counts
    bound = float(beta.ppf(alpha, n_a, n - n_a + 1)) if n_a else 0.0
    expected = max(0.0, sigma * float(norm.ppf(bound))) if bound > 0 else 0.0
    assert certified_radius(n_a, n, sigma=sigma, alpha=alpha) == pytest.approx(expected, abs=1e-12)


@given(st.integers(2, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), SIGMAS, ALPHAS)
@settings(max_examples=60)
def test_the_radius_grows_with_the_count_and_with_sigma_and_shrinks_with_confidence(
    counts: tuple[int, int], sigma: float, alpha: float
) -> None:
    n_a, n = counts
    radius = certified_radius(n_a, n, sigma=sigma, alpha=alpha)
    assert radius >= 0
    assert certified_radius(n_a + 1, n, sigma=sigma, alpha=alpha) >= radius
    assert certified_radius(n_a, n, sigma=2 * sigma, alpha=alpha) == pytest.approx(2 * radius)
    assert certified_radius(n_a, n, sigma=sigma, alpha=alpha / 2) <= radius


@pytest.mark.parametrize("sigma", [0, -0.1, math.nan, math.inf])
def test_sigma_is_positive_and_finite(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match="sigma must be positive and finite"):
        certified_radius(9, 10, sigma=sigma, alpha=0.05)
    with pytest.raises(ConfigurationError, match="sigma must be positive and finite"):
        median_ranks(10, sigma=sigma, epsilon=0.1, alpha=0.05)


def test_radii_of_many_counts_are_those_of_each() -> None:
    counts = np.array([[1000, 950], [549, 0]])
    found = certified_radii(counts, 1000, sigma=0.12, alpha=0.001)
    expected = [[certified_radius(int(n_a), 1000, sigma=0.12, alpha=0.001) for n_a in row] for row in counts]
    assert found.tolist() == expected
    assert found[1].tolist() == [0, 0]


# --- order statistics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "ranks"), [(0.025, (370, 631)), (0.05, (293, 708)), (0.1, (164, 837)), (0.25, (7, 994))]
)
def test_ranks_at_the_benchmarks_sizes(epsilon: float, ranks: tuple[int, int]) -> None:
    assert median_ranks(1000, sigma=0.12, epsilon=epsilon, alpha=0.001) == ranks


def wrong_below(rank: int, n: int, share: float) -> float:
    """Chance that the rank-th smallest of n samples lies above the quantile at `share`: fewer than rank below it."""
    return float(binom.cdf(rank - 1, n, share))


@given(st.integers(1, 600), SIGMAS, st.floats(0, 1), ALPHAS)
@settings(max_examples=100)
def test_ranks_are_the_tightest_whose_chance_to_be_wrong_is_below_alpha(
    n: int, sigma: float, epsilon: float, alpha: float
) -> None:
    lower, upper = median_ranks(n, sigma=sigma, epsilon=epsilon, alpha=alpha)
    down, up = float(norm.cdf(-epsilon / sigma)), float(norm.cdf(epsilon / sigma))
    if lower is None:
        assert wrong_below(1, n, down) >= alpha * (1 - 1e-9)
    else:
        assert 1 <= lower <= n
        assert wrong_below(lower, n, down) < alpha * (1 + 1e-9)
        assert lower == n or wrong_below(lower + 1, n, down) >= alpha * (1 - 1e-9)
    # The upper rank u is wrong when n - u + 1 or more samples lie above: the mirror image of the lower one.
    assert upper == (None if lower is None else n + 1 - lower)
    if upper is not None:
        assert float(binom.sf(upper - 1, n, up)) < alpha * (1 + 1e-9)


@given(st.integers(20, 600), SIGMAS, st.floats(0, 0.5), st.floats(0, 0.5), ALPHAS)
@settings(max_examples=80)
def test_ranks_bracket_the_median_and_widen_with_epsilon_until_they_abstain(
    n: int, sigma: float, epsilon: float, more: float, alpha: float
) -> None:
    lower, upper = median_ranks(n, sigma=sigma, epsilon=epsilon, alpha=alpha)
    wider_lower, wider_upper = median_ranks(n, sigma=sigma, epsilon=epsilon + more, alpha=alpha)
    if lower is None or upper is None:
        assert (wider_lower, wider_upper) == (None, None)
        return
    assert lower <= (n + 1) / 2 <= upper
    assert wider_lower is None or wider_lower <= lower
    assert wider_upper is None or wider_upper >= upper


@pytest.mark.parametrize(("n", "epsilon"), [(1, 0.05), (5, 0.05), (9, 0.0), (1000, 0.4), (1000, 1e3), (1000, math.inf)])
def test_where_no_order_statistic_exists_it_abstains_without_an_error(n: int, epsilon: float) -> None:
    # 2^-9 > 0.001: nine samples do not even bound the median itself.
    assert median_ranks(n, sigma=0.12, epsilon=epsilon, alpha=0.001) == (None, None)


def test_ten_samples_are_the_fewest_that_bound_a_median_at_one_in_a_thousand() -> None:
    assert median_ranks(10, sigma=0.12, epsilon=0, alpha=0.001) == (1, 10)


@pytest.mark.parametrize(("n", "epsilon"), [(0, 0.1), (-1, 0.1), (10, -0.1), (10, math.nan)])
def test_impossible_sizes_are_refused(n: int, epsilon: float) -> None:
    with pytest.raises(ConfigurationError, match="need n >= 1 and epsilon >= 0"):
        median_ranks(n, sigma=0.12, epsilon=epsilon, alpha=0.05)


@pytest.mark.parametrize("score", ["linear", "step"])
def test_the_interval_holds_the_median_at_every_shift_within_epsilon(score: str) -> None:
    # A score along the worst direction, linear or a step, under Gaussian noise: its smoothed median is known.
    sigma, epsilon, alpha, n, trials = 0.5, 0.3, 0.05, 200, 2000
    lower, upper = median_ranks(n, sigma=sigma, epsilon=epsilon, alpha=alpha)
    assert lower is not None
    assert upper is not None
    noise = np.random.RandomState(1).normal(0, sigma, (trials, n))
    scores = np.sort(noise if score == "linear" else np.where(noise > -epsilon / 2, 1.0, 0.0), axis=1)
    # The median at a shift t is t; of the step, 1 where t > -epsilon / 2.
    highest = epsilon if score == "linear" else 1.0
    lowest = -epsilon if score == "linear" else 0.0
    misses_above = float((scores[:, upper - 1] < highest).mean())
    misses_below = float((scores[:, lower - 1] > lowest).mean())
    allowed = alpha + 4 * math.sqrt(alpha * (1 - alpha) / trials)
    assert misses_above <= allowed
    assert misses_below <= allowed
    assert score == "step" or misses_above > alpha / 3  # tight, not merely safe


@given(st.integers(1, 400), st.floats(0.01, 0.99), SIGMAS, st.floats(0, 0.6), ALPHAS)
@settings(max_examples=80)
def test_ranks_of_a_percentile_are_the_tightest_whose_chance_to_be_wrong_is_below_alpha(
    n: int, percentile: float, sigma: float, epsilon: float, alpha: float
) -> None:
    lower, upper = percentile_ranks(n, percentile=percentile, sigma=sigma, epsilon=epsilon, alpha=alpha)
    down, up = (float(norm.cdf(norm.ppf(percentile) + side * epsilon / sigma)) for side in (-1, 1))
    least, just = alpha * (1 - 1e-9), alpha * (1 + 1e-9)
    if lower is None:
        assert wrong_below(1, n, down) >= least
    else:
        assert wrong_below(lower, n, down) < just
        assert lower == n or wrong_below(lower + 1, n, down) >= least
    if upper is None:
        assert float(binom.sf(n - 1, n, up)) >= least
    else:
        assert float(binom.sf(upper - 1, n, up)) < just
        assert upper == 1 or float(binom.sf(upper - 2, n, up)) >= least


def test_ranks_rise_with_the_percentile_and_the_median_is_one_of_them() -> None:
    ranks = [percentile_ranks(1000, percentile=p / 10, sigma=0.12, epsilon=0.05, alpha=0.001) for p in range(1, 10)]
    assert ranks[4] == median_ranks(1000, sigma=0.12, epsilon=0.05, alpha=0.001) == (293, 708)
    for side in (0, 1):
        known = [each[side] for each in ranks]
        assert known == sorted(known)
        assert len(set(known)) == 9


@pytest.mark.parametrize("percentile", [0, 1, -0.2, math.nan])
def test_a_percentile_lies_strictly_between_zero_and_one(percentile: float) -> None:
    with pytest.raises(ConfigurationError, match="percentile must lie strictly"):
        percentile_ranks(10, percentile=percentile, sigma=0.1, epsilon=0.1, alpha=0.05)


# --- certified relative delta ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.floats(0, 50)] * 3), min_size=1, max_size=10), st.floats(0.1, 200))
def test_certified_delta_is_the_larger_side_as_a_share_of_the_range(
    rows: list[tuple[float, float, float]], diam: float
) -> None:
    ordered = [sorted(row) for row in rows]
    low, middle, high = zip(*ordered, strict=True)
    expected = [max(h - m, m - lo) / diam for lo, m, h in ordered]
    found = certified_delta(low, middle, high, diam=diam)
    assert found.tolist() == pytest.approx(expected)
    assert (found >= 0).all()
    turned = certified_delta([-h for h in high], [-m for m in middle], [-lo for lo in low], diam=diam)
    assert found.tolist() == pytest.approx(turned.tolist())


def test_certified_delta_is_nan_where_the_certificate_abstains() -> None:
    found = certified_delta([1, math.nan], [2, 2], [4, math.nan], diam=4)
    assert found[0] == 0.5
    assert math.isnan(found[1])


@pytest.mark.parametrize("diam", [0, -1, math.nan, math.inf])
def test_certified_delta_needs_a_range(diam: float) -> None:
    with pytest.raises(ConfigurationError, match="diam must be positive and finite"):
        certified_delta([1], [2], [3], diam=diam)


@given(st.lists(st.tuples(*[st.floats(0, 50)] * 3), min_size=1, max_size=10), st.floats(0.1, 200))
def test_the_width_is_between_one_and_two_larger_sides(rows: list[tuple[float, float, float]], diam: float) -> None:
    low, middle, high = zip(*[sorted(row) for row in rows], strict=True)
    width, side = certified_width(low, high, diam=diam), certified_delta(low, middle, high, diam=diam)
    assert (width >= side * (1 - 1e-12)).all()
    assert (width <= 2 * side * (1 + 1e-12)).all()
    assert certified_width([1, math.nan], [3, math.nan], diam=4).tolist()[0] == 0.5
    assert math.isnan(certified_width([math.nan], [math.nan], diam=4)[0])


# --- families -------------------------------------------------------------------------------------------------------


def test_a_family_shares_the_chance_of_error() -> None:
    assert family_wise(0.001, 1) == 0.001
    assert family_wise(0.05, 20) == pytest.approx(0.0025)
    rng = np.random.RandomState(3)
    trials, family, n, share, alpha = 2000, 10, 60, 0.8, 0.05
    counts = rng.binomial(n, share, (trials, family))
    lower, _ = clopper_pearson_bounds(counts, n, alpha=family_wise(alpha, family))
    alone, _ = clopper_pearson_bounds(counts, n, alpha=alpha)
    assert (lower > share).any(axis=1).mean() <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / trials)
    # Without the correction one of ten is wrong far more often.
    assert (alone > share).any(axis=1).mean() > 3 * alpha


@pytest.mark.parametrize("family", [0, -3])
def test_a_family_has_members(family: int) -> None:
    with pytest.raises(ConfigurationError, match="at least one member"):
        family_wise(0.05, family)
