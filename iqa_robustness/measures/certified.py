"""The numbers behind certificates of smoothed metrics: radii, order statistics, certified relative delta."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, binom, norm

from iqa_robustness.errors import ConfigurationError


def clopper_pearson_lower(n_a: int, n: int, *, alpha: float) -> float:
    """Lower confidence bound of a probability after `n_a` successes in `n` draws; wrong with chance at most `alpha`.

    Source: Clopper and Pearson, Biometrika 1934, exact one-sided bound through the beta distribution.
    """
    return float(clopper_pearson_bounds(n_a, n, alpha=alpha)[0])


def clopper_pearson_bounds(n_a: ArrayLike, n: ArrayLike, *, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper confidence bounds of probabilities, each of them wrong with chance at most `alpha`.

    Args:
        n_a: successes, any shape.
        n: draws, of the same shape or one number.
        alpha: chance of either bound to be wrong.

    Source: Clopper and Pearson, Biometrika 1934, exact one-sided bounds through the beta distribution.
    """
    _check_probability(alpha, "alpha")
    hits, draws = (np.asarray(count, np.int64) for count in (n_a, n))
    wrong = (hits < 0) | (hits > draws) | (draws < 1)
    if wrong.any():
        first = tuple(int(np.broadcast_to(count, wrong.shape)[wrong][0]) for count in (hits, draws))
        raise ConfigurationError(f"need 0 <= n_a <= n and n >= 1, got n_a={first[0]}, n={first[1]}")
    misses = draws - hits
    # Where there is nothing to bound, the beta distribution does not exist.
    lower = np.where(hits == 0, 0.0, beta.ppf(alpha, np.maximum(hits, 1), misses + 1))
    upper = np.where(misses == 0, 1.0, beta.isf(alpha, hits + 1, np.maximum(misses, 1)))
    return lower, upper


def certified_radius(n_a: int, n: int, *, sigma: float, alpha: float) -> float:
    """Certified l2 radius of a smoothed classification, in units of 1; 0.0 where it abstains (bound below one half).

    Source: Cohen et al., ICML 2019, CERTIFY: σ Φ⁻¹(p_A).
    """
    return float(certified_radii(n_a, n, sigma=sigma, alpha=alpha))


def certified_radii(n_a: ArrayLike, n: ArrayLike, *, sigma: float, alpha: float) -> np.ndarray:
    """`certified_radius` of many images at once: counts of one shape (or one number) to radii of that shape."""
    _check_positive(sigma, "sigma")
    bound, _ = clopper_pearson_bounds(n_a, n, alpha=alpha)
    radii: np.ndarray = np.where(bound > 0.5, sigma * norm.ppf(bound), 0.0)
    return radii


def median_ranks(n: int, *, sigma: float, epsilon: float, alpha: float) -> tuple[int | None, int | None]:
    """Ranks of the order statistics that bound a smoothed median under any l2 shift up to `epsilon`.

    Args:
        n: noisy samples an image.
        sigma: standard deviation of the noise, in units of 1.
        epsilon: l2 size of the shift, in units of 1.
        alpha: chance that one of the two bounds is wrong, each.

    Returns:
        (lower, upper), 1-based, in ascending order of the samples; None where no such order statistic exists in `n`
        samples, and the certificate has to abstain.

    Source: Chiang et al., NeurIPS 2020, theorem 2 and Lemma 3. The benchmark's code reads both one place too low.
    """
    return percentile_ranks(n, percentile=0.5, sigma=sigma, epsilon=epsilon, alpha=alpha)


def percentile_ranks(
    n: int, *, percentile: float, sigma: float, epsilon: float, alpha: float
) -> tuple[int | None, int | None]:
    """`median_ranks` for another percentile: under a shift of ε the p-th lies between Φ(Φ⁻¹(p) ± ε/σ).

    Args:
        n: noisy samples an image.
        percentile: p, strictly between 0 and 1; the median is 0.5.
        sigma, epsilon, alpha: as of `median_ranks`.

    Returns:
        As `median_ranks`.

    Source: Chiang et al., NeurIPS 2020, lemma 1 and theorem 2.
    """
    _check_positive(sigma, "sigma")
    _check_probability(alpha, "alpha")
    _check_probability(percentile, "percentile")
    if n < 1 or not epsilon >= 0:
        raise ConfigurationError(f"need n >= 1 and epsilon >= 0, got n={n}, epsilon={epsilon}")
    ranks, place = np.arange(1, n + 1), norm.ppf(percentile)
    reaches_upper = binom.cdf(ranks - 1, n, norm.cdf(place + epsilon / sigma)) > 1 - alpha
    reaches_lower = binom.sf(ranks - 1, n, norm.cdf(place - epsilon / sigma)) > 1 - alpha
    upper = int(ranks[reaches_upper][0]) if reaches_upper.any() else None
    lower = int(ranks[reaches_lower][-1]) if reaches_lower.any() else None
    return lower, upper


def certified_delta(lower: ArrayLike, median: ArrayLike, upper: ArrayLike, *, diam: float) -> np.ndarray:
    """Certified relative delta of each image: the larger side of the certified interval ÷ diam, a share of the range.

    Lower is better; NaN where the certificate abstains. Source: the benchmark's Cert.RD, whose code leaves it open.
    """
    _check_positive(diam, "diam")
    low, middle, high = (np.asarray(side, np.float64) for side in (lower, median, upper))
    side: np.ndarray = np.maximum(high - middle, middle - low) / diam
    return side


def certified_width(lower: ArrayLike, upper: ArrayLike, *, diam: float) -> np.ndarray:
    """Width of each image's certified interval ÷ diam, a share of the range; NaN where the certificate abstains."""
    _check_positive(diam, "diam")
    width: np.ndarray = (np.asarray(upper, np.float64) - np.asarray(lower, np.float64)) / diam
    return width


def family_wise(alpha: float, family: int) -> float:
    """The chance of error that each of `family` bounds may have, so that any of them is wrong with at most `alpha`.

    Source: Bonferroni, which holds whatever the dependence.
    """
    _check_probability(alpha, "alpha")
    if family < 1:
        raise ConfigurationError(f"a family has at least one member, got {family}")
    return alpha / family


def _check_positive(value: float, name: str) -> None:
    if not 0 < value < np.inf:
        raise ConfigurationError(f"{name} must be positive and finite, got {value}")


def _check_probability(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ConfigurationError(f"{name} must lie strictly between 0 and 1, got {value}")
