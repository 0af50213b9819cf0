"""From the scores of noisy samples to a certificate; no networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iqa_robustness.defenses.certified.score_classes import CLASSES, ScoreClasses
from iqa_robustness.measures.certified import certified_radii, percentile_ranks


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """What smoothing says about each image. It speaks of the ideal smoothed metric g, not of the sampled estimate.

    Regression: within `radius`, g stays between `lower` and `upper`. Classification: within `radius`, g answers
    `classes`.

    scores: (N,) the estimate, score units; of a classification the middle of the class (the ends of the range for the
        classes beyond them).
    lower, upper: (N,) float, score units; NaN where it abstains, and always of a classification.
    radius: (N,) float64, certified l2 radius in units of 1; 0 where it abstains.
    abstained: (N,) bool.
    draws: (N, n) the scores of the noisy samples; NaN for those that an early stop spared.
    selection: (N, n0) the scores of the samples that chose the class; (N, 0) of a regression.
    classes: (N,) int64, of a classification the majority class, also where it abstains; −1 of a regression.
    votes: (N,) int64, how many draws are of that class (n_A); 0 of a regression.
    """

    scores: Tensor
    lower: Tensor
    upper: Tensor
    radius: Tensor
    abstained: Tensor
    draws: Tensor
    selection: Tensor
    classes: Tensor
    votes: Tensor


def percentile_certificates(
    draws: Tensor, *, percentile: float = 0.5, sigma: float, epsilon: float, alpha: float, places_too_low: int = 0
) -> Certificates:
    """Certify smoothed percentiles.

    Args:
        draws: (N, n) scores of n noisy samples of each image, NaN after the last one of an image that has fewer.
        percentile: which one, strictly between 0 and 1; the median is 0.5.
        sigma: standard deviation of the noise, in units of 1.
        epsilon: l2 radius to certify, in units of 1.
        alpha: chance of each bound to be wrong.
        places_too_low: how far below their places both order statistics are read; a mistake to be reproduced.

    Returns:
        The percentile of the draws with bounds; an image abstains when its samples hold no such order statistic.

    Source: Chiang et al., NeurIPS 2020, theorem 2.
    """
    count = len(draws)
    scores, lower, upper = (torch.full((count,), torch.nan, dtype=draws.dtype, device=draws.device) for _ in range(3))
    taken = (~draws.isnan()).sum(dim=1)
    for n in taken.unique().tolist():
        rows = taken == n
        ordered = draws[rows, :n].sort(dim=1).values
        scores[rows] = _interpolated(ordered, percentile)
        first, last = percentile_ranks(n, percentile=percentile, sigma=sigma, epsilon=epsilon, alpha=alpha)
        if first is not None and last is not None and first > places_too_low:
            lower[rows] = ordered[:, first - 1 - places_too_low]
            upper[rows] = ordered[:, last - 1 - places_too_low]
    abstained = lower.isnan()
    nothing = torch.zeros(count, dtype=torch.int64, device=draws.device)
    return Certificates(
        scores=scores,
        lower=lower,
        upper=upper,
        radius=(~abstained).double() * epsilon,
        abstained=abstained,
        draws=draws,
        selection=draws[:, :0],
        classes=nothing - 1,
        votes=nothing,
    )


def vote_certificates(
    draws: Tensor, *, selection: Tensor, classes: ScoreClasses, sigma: float, alpha: float
) -> Certificates:
    """Certify the class that most noisy samples are scored into.

    Args:
        draws: (N, n) scores that count the votes, NaN after the last one of an image that has fewer.
        selection: (N, n0) scores of other samples, whose majority is the class; the lowest of several.
        classes: of the metric's score range.
        sigma: standard deviation of the noise, in units of 1.
        alpha: chance of a certificate to be wrong.

    Returns:
        Class and radius; an image abstains when its votes do not prove a majority.

    Source: Cohen et al., ICML 2019, CERTIFY.
    """
    chosen = (classes.of(selection)[:, :, None] == torch.arange(CLASSES, device=draws.device)).sum(dim=1).argmax(dim=1)
    # NaN is of no class.
    taken = ~draws.isnan()
    votes = ((classes.of(draws) == chosen[:, None]) & taken).sum(dim=1)
    radii = certified_radii(votes.cpu().numpy(), taken.sum(dim=1).cpu().numpy(), sigma=sigma, alpha=alpha)
    radius = torch.from_numpy(radii).to(draws.device)
    unknown = torch.full((len(draws),), torch.nan, dtype=draws.dtype, device=draws.device)
    return Certificates(
        scores=classes.middles(chosen).to(draws.dtype),
        lower=unknown,
        upper=unknown,
        radius=radius,
        abstained=radius == 0,
        draws=draws,
        selection=selection,
        classes=chosen,
        votes=votes,
    )


def _interpolated(ordered: Tensor, percentile: float) -> Tensor:
    """(N, n) ascending to (N,): linear between the two nearest places; of the median the mean of the middle ones."""
    place = (ordered.shape[1] - 1) * percentile
    below = math.floor(place)
    share = place - below
    low, high = ordered[:, below], ordered[:, math.ceil(place)]
    # Rounding must not carry it past the two places.
    return (low * (1 - share) + high * share).clamp(low, high)
