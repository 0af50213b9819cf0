"""Certificates from draws: order statistics by an independent formula, sound on a distribution known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from iqa_robustness.defenses.certified.bounds import percentile_certificates


def ranks_by_the_beta_law(n: int, sigma: float, epsilon: float, alpha: float) -> tuple[int | None, int | None]:
    """The k-th of n uniform order statistics is Beta(k, n − k + 1): 1-based (lower, upper), None where there is none.

    Upper: the first k that lies above the quantile Φ(ε/σ) with more than 1 − α; lower: the last below Φ(−ε/σ).
    """
    above = [k for k in range(1, n + 1) if stats.beta.sf(stats.norm.cdf(epsilon / sigma), k, n - k + 1) > 1 - alpha]
    below = [k for k in range(1, n + 1) if stats.beta.cdf(stats.norm.cdf(-epsilon / sigma), k, n - k + 1) > 1 - alpha]
    return (below[-1] if below else None), (above[0] if above else None)


@given(
    draws=hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 60)), elements=st.floats(-9, 9, width=32)),
    sigma=st.floats(0.05, 1),
    ratio=st.floats(0, 1.2),
    alpha=st.floats(0.001, 0.4),
)
@settings(deadline=None, max_examples=80)
def test_bounds_are_the_order_statistics_of_the_beta_law_and_bracket_the_median(
    draws: np.ndarray, sigma: float, ratio: float, alpha: float
) -> None:
    n, epsilon = draws.shape[1], ratio * sigma
    found = percentile_certificates(torch.from_numpy(draws), sigma=sigma, epsilon=epsilon, alpha=alpha)
    np.testing.assert_allclose(found.scores.numpy(), np.median(draws, axis=1), rtol=1e-6, atol=1e-6)
    lower, upper = ranks_by_the_beta_law(n, sigma, epsilon, alpha)
    ordered = np.sort(draws, axis=1)
    if lower is None or upper is None:
        assert found.abstained.all()
        assert found.lower.isnan().all()
        assert found.upper.isnan().all()
        assert not found.radius.any()
    else:
        assert not found.abstained.any()
        assert np.array_equal(found.lower.numpy(), ordered[:, lower - 1])
        assert np.array_equal(found.upper.numpy(), ordered[:, upper - 1])
        assert torch.equal(found.radius, torch.full((len(draws),), epsilon, dtype=torch.float64))
        assert (found.lower <= found.scores).all()
        assert (found.scores <= found.upper).all()
    assert np.array_equal(found.draws.numpy(), draws)


@pytest.mark.parametrize(("n", "lower", "upper"), [(1000, 293, 708), (200, 48, 153), (2000, 612, 1389)])
def test_the_ranks_of_the_benchmarks_parameters(n: int, lower: int, upper: int) -> None:
    # With draws 1 … n, a bound is its own rank.
    found = percentile_certificates(torch.arange(1.0, n + 1)[None], sigma=0.12, epsilon=0.05, alpha=0.001)
    assert (float(found.lower), float(found.upper)) == (lower, upper)
    assert ranks_by_the_beta_law(n, 0.12, 0.05, 0.001) == (lower, upper)


def test_a_sample_too_small_for_a_bound_abstains_and_the_next_larger_does_not() -> None:
    sigma, epsilon, alpha = 0.12, 0.05, 0.001
    enough = next(n for n in range(2, 100) if None not in ranks_by_the_beta_law(n, sigma, epsilon, alpha))
    draws = torch.randn(3, enough, generator=torch.Generator().manual_seed(0))
    few = percentile_certificates(draws[:, :-1], sigma=sigma, epsilon=epsilon, alpha=alpha)
    many = percentile_certificates(draws, sigma=sigma, epsilon=epsilon, alpha=alpha)
    assert few.abstained.all()
    assert not many.abstained.any()
    assert torch.isfinite(few.scores).all()


def test_no_more_than_alpha_of_the_bounds_are_wrong() -> None:
    # Draws are standard normal: under a shift of 1 the smoothed median reaches exactly ± 1 (σ = ε = 1).
    draws = torch.from_numpy(np.random.RandomState(5).standard_normal((4000, 60)).astype(np.float32))
    alpha = 0.05
    found = percentile_certificates(draws, sigma=1.0, epsilon=1.0, alpha=alpha)
    margin = 3 * (alpha * (1 - alpha) / 4000) ** 0.5
    assert 0 < float((found.upper < 1).double().mean()) <= alpha + margin
    assert 0 < float((found.lower > -1).double().mean()) <= alpha + margin


def test_the_order_of_draws_does_not_matter() -> None:
    draws = torch.randn(2, 80, generator=torch.Generator().manual_seed(1))
    first = percentile_certificates(draws, sigma=0.2, epsilon=0.05, alpha=0.01)
    second = percentile_certificates(draws.flip(1), sigma=0.2, epsilon=0.05, alpha=0.01)
    for name in ("scores", "lower", "upper", "radius"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_a_wider_radius_and_more_certainty_never_narrow_the_bounds() -> None:
    draws = torch.randn(3, 300, generator=torch.Generator().manual_seed(2))
    narrow = percentile_certificates(draws, sigma=0.2, epsilon=0.02, alpha=0.05)
    for epsilon, alpha in ((0.05, 0.05), (0.02, 0.001)):
        wide = percentile_certificates(draws, sigma=0.2, epsilon=epsilon, alpha=alpha)
        assert (wide.lower <= narrow.lower).all()
        assert (wide.upper >= narrow.upper).all()
