"""From the scores of noisy samples to a certificate; no networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqa_robustness.measures.certified import median_ranks


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """What smoothing says about each image. It speaks of the ideal smoothed metric, not of the sampled estimate.

    scores: (N,) the estimate, score units.
    lower, upper: (N,) bounds that hold for every image within `radius`; NaN where it abstains.
    radius: (N,) certified l2 radius, in units of 1; 0 where it abstains.
    abstained: (N,) bool.
    draws: (N, n) the scores of the noisy samples.
    """

    scores: Tensor
    lower: Tensor
    upper: Tensor
    radius: Tensor
    abstained: Tensor
    draws: Tensor


def median_certificates(draws: Tensor, *, sigma: float, epsilon: float, alpha: float) -> Certificates:
    """Certify smoothed medians.

    Args:
        draws: (N, n) scores of n noisy samples of each image.
        sigma: standard deviation of the noise, in units of 1.
        epsilon: l2 radius to certify, in units of 1.
        alpha: chance of each bound to be wrong.

    Returns:
        The median of the draws with bounds; abstains on every image when n samples hold no such order statistic.

    Source: Chiang et al., NeurIPS 2020, theorem 2.
    """
    count, n = draws.shape
    ordered = draws.sort(dim=1).values
    lower_rank, upper_rank = median_ranks(n, sigma=sigma, epsilon=epsilon, alpha=alpha)
    abstains = lower_rank is None or upper_rank is None
    unknown = torch.full((count,), torch.nan, device=draws.device)
    return Certificates(
        # The mean of the two middle values of an even number of draws.
        scores=(ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2,
        lower=unknown if lower_rank is None or abstains else ordered[:, lower_rank - 1],
        upper=unknown if upper_rank is None or abstains else ordered[:, upper_rank - 1],
        radius=torch.full((count,), 0.0 if abstains else epsilon, device=draws.device),
        abstained=torch.full((count,), abstains, dtype=torch.bool, device=draws.device),
        draws=draws,
    )
