"""Certificates from draws: order statistics and votes by independent formulas, sound on distributions known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from iqa_robustness.defenses.certified.bounds import Certificates, percentile_certificates, vote_certificates
from iqa_robustness.defenses.certified.score_classes import ScoreClasses


def ranks_by_the_beta_law(n: int, sigma: float, epsilon: float, alpha: float) -> tuple[int | None, int | None]:
    """The k-th of n uniform order statistics is Beta(k, n − k + 1): 1-based (lower, upper), None where there is none.

    Upper: the first k that lies above the quantile Φ(ε/σ) with more than 1 − α; lower: the last below Φ(−ε/σ).
    """
    above = [k for k in range(1, n + 1) if stats.beta.sf(stats.norm.cdf(epsilon / sigma), k, n - k + 1) > 1 - alpha]
    below = [k for k in range(1, n + 1) if stats.beta.cdf(stats.norm.cdf(-epsilon / sigma), k, n - k + 1) > 1 - alpha]
    return (below[-1] if below else None), (above[0] if above else None)


@example(draws=np.full((1, 4), -1e-45, np.float32), sigma=1.0, ratio=0.0, alpha=0.25)
@example(draws=np.full((1, 4), 1e-45, np.float32), sigma=1.0, ratio=0.0, alpha=0.25)
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


# --- percentiles ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.floats(0.02, 0.98), st.floats(0, 0.6), st.sampled_from([0.001, 0.05, 0.3]))
@settings(deadline=None, max_examples=80)
def test_bounds_of_a_percentile_are_those_of_the_beta_law_and_bracket_it(
    n: int, percentile: float, epsilon: float, alpha: float
) -> None:
    draws = torch.randn(2, n, generator=torch.Generator().manual_seed(n))
    found = percentile_certificates(draws, percentile=percentile, sigma=0.3, epsilon=epsilon, alpha=alpha)
    np.testing.assert_allclose(found.scores, np.quantile(draws, percentile, axis=1), rtol=1e-4, atol=1e-6)
    place = stats.norm.ppf(percentile)
    ranks = np.arange(1, n + 1)
    over = stats.beta.sf(stats.norm.cdf(place + epsilon / 0.3), ranks, n - ranks + 1) > 1 - alpha
    under = stats.beta.cdf(stats.norm.cdf(place - epsilon / 0.3), ranks, n - ranks + 1) > 1 - alpha
    assert found.abstained.tolist() == [not (over.any() and under.any())] * 2
    if over.any() and under.any():
        ordered = draws.sort(dim=1).values
        assert torch.equal(found.upper, ordered[:, int(np.argmax(over))])
        assert torch.equal(found.lower, ordered[:, int(np.flatnonzero(under)[-1])])


def test_the_published_ranks_are_one_place_too_low() -> None:
    draws = torch.arange(1.0, 1001)[None]
    found = percentile_certificates(draws, sigma=0.12, epsilon=0.05, alpha=0.001, places_too_low=1)
    assert (float(found.lower), float(found.upper)) == (292, 707)
    # A first order statistic has nothing below it.
    none = percentile_certificates(draws[:, :10], sigma=0.12, epsilon=0, alpha=0.001, places_too_low=1)
    assert none.abstained.all()


# --- images with fewer draws ----------------------------------------------------------------------------------------


def test_draws_that_were_spared_do_not_count() -> None:
    draws = torch.randn(3, 60, generator=torch.Generator().manual_seed(3))
    some = draws.clone()
    some[1, 30:] = torch.nan
    some[2, 4:] = torch.nan
    found = percentile_certificates(some, sigma=0.5, epsilon=0.1, alpha=0.05)
    for row, n in enumerate((60, 30, 4)):
        alone = percentile_certificates(draws[row : row + 1, :n], sigma=0.5, epsilon=0.1, alpha=0.05)
        for name in ("scores", "lower", "upper", "radius", "abstained"):
            assert torch.equal(getattr(found, name)[row].nan_to_num(-9), getattr(alone, name)[0].nan_to_num(-9)), name
    assert found.abstained.tolist() == [False, False, True]
    votes = vote_certificates(some, selection=draws[:, :5], classes=ScoreClasses((0.0, 1e9)), sigma=0.5, alpha=0.05)
    alone = vote_certificates(
        draws[1:2, :30], selection=draws[1:2, :5], classes=ScoreClasses((0.0, 1e9)), sigma=0.5, alpha=0.05
    )
    assert torch.equal(votes.votes[1:2], alone.votes)
    assert torch.equal(votes.radius[1:2], alone.radius)


# --- votes ----------------------------------------------------------------------------------------------------------

TENTHS = ScoreClasses((0.0, 10.0))


def voted(n_a: int, n: int = 1000, *, alpha: float = 0.001) -> Certificates:
    """Of n samples, n_a score into class 7 and the others elsewhere."""
    draws = torch.full((1, n), 6.5)
    draws[0, n_a:] = torch.linspace(-1, 6, n - n_a)
    return vote_certificates(draws, selection=torch.full((1, 100), 6.2), classes=TENTHS, sigma=0.12, alpha=alpha)


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
        (549, 0),
        (548, 0),
        (547, 0),
    ],
)
def test_the_golden_table_of_votes_and_radii(n_a: int, radius: float) -> None:
    found = voted(n_a)
    assert int(found.votes) == n_a
    assert int(found.classes) == 7
    assert float(found.radius) == pytest.approx(radius, abs=5e-7)
    assert bool(found.abstained) is (radius == 0)
    # An abstention keeps its class, and the score of it.
    assert float(found.scores) == 6.5
    assert found.lower.isnan().all()
    assert found.upper.isnan().all()


def test_the_selection_chooses_the_class_and_the_draws_only_count() -> None:
    draws = torch.cat([torch.full((1, 90), 2.5), torch.full((1, 10), 7.5)], dim=1)
    chosen = vote_certificates(draws, selection=torch.full((1, 3), 7.5), classes=TENTHS, sigma=0.5, alpha=0.05)
    assert (int(chosen.classes), int(chosen.votes)) == (8, 10)
    assert chosen.abstained.all()
    assert float(chosen.radius) == 0
    assert torch.equal(chosen.selection, torch.full((1, 3), 7.5))
    tied = vote_certificates(
        draws, selection=torch.tensor([[7.5, 2.5, 2.5, 7.5]]), classes=TENTHS, sigma=0.5, alpha=0.05
    )
    assert (int(tied.classes), int(tied.votes)) == (3, 90)
    assert float(tied.radius) == pytest.approx(0.5 * stats.norm.ppf(stats.beta.ppf(0.05, 90, 11)))


@pytest.mark.parametrize(
    ("score", "number", "answer"), [(-3.0, 0, 0.0), (0.0, 0, 0.0), (10.0, 10, 9.5), (11.0, 11, 10)]
)
def test_classes_beyond_the_range_answer_with_its_ends(score: float, number: int, answer: float) -> None:
    samples = torch.full((1, 50), score)
    found = vote_certificates(samples, selection=samples[:, :5], classes=TENTHS, sigma=0.12, alpha=0.001)
    assert int(found.classes) == number
    assert float(found.scores) == answer
    assert float(found.radius) == pytest.approx(0.12 * stats.norm.ppf(0.001 ** (1 / 50)))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), st.floats(0.001, 0.4))
@settings(deadline=None, max_examples=60)
def test_radii_grow_with_votes_and_shrink_with_certainty(counts: tuple[int, int], alpha: float) -> None:
    n_a, n = counts
    radius = float(voted(n_a, n, alpha=alpha).radius)
    assert 0 <= radius <= float(voted(n_a + 1, n, alpha=alpha).radius)
    assert float(voted(n_a, n, alpha=alpha / 7).radius) <= radius
    assert radius <= max(0, 0.12 * stats.norm.ppf(alpha ** (1 / n)))
    assert bool(voted(n_a, n, alpha=alpha).abstained) is (radius == 0)


def test_no_images_have_no_votes() -> None:
    found = vote_certificates(torch.empty(0, 9), selection=torch.empty(0, 4), classes=TENTHS, sigma=0.1, alpha=0.1)
    for name in ("scores", "radius", "abstained", "classes", "votes"):
        assert getattr(found, name).shape == (0,), name
