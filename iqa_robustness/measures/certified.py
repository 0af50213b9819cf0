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
    _check_probability(alpha, "alpha")
    if not 0 <= n_a <= n or n < 1:
        raise ConfigurationError(f"need 0 <= n_a <= n and n >= 1, got n_a={n_a}, n={n}")
    return float(beta.ppf(alpha, n_a, n - n_a + 1)) if n_a else 0.0


def certified_radius(n_a: int, n: int, *, sigma: float, alpha: float) -> float:
    """Certified l2 radius of a smoothed classification, in units of 1; 0.0 where it abstains (bound below one half).

    Source: Cohen et al., ICML 2019, CERTIFY: σ Φ⁻¹(p_A).
    """
    _check_positive(sigma, "sigma")
    bound = clopper_pearson_lower(n_a, n, alpha=alpha)
    return float(sigma * norm.ppf(bound)) if bound > 0.5 else 0.0


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
    _check_positive(sigma, "sigma")
    _check_probability(alpha, "alpha")
    if n < 1 or not epsilon >= 0:
        raise ConfigurationError(f"need n >= 1 and epsilon >= 0, got n={n}, epsilon={epsilon}")
    ranks = np.arange(1, n + 1)
    reaches_upper = binom.cdf(ranks - 1, n, norm.cdf(epsilon / sigma)) > 1 - alpha
    reaches_lower = binom.sf(ranks - 1, n, norm.cdf(-epsilon / sigma)) > 1 - alpha
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


def _check_positive(value: float, name: str) -> None:
    if not 0 < value < np.inf:
        raise ConfigurationError(f"{name} must be positive and finite, got {value}")


def _check_probability(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ConfigurationError(f"{name} must lie strictly between 0 and 1, got {value}")
