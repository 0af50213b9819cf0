"""Median smoothing: the median score under Gaussian noise, and how far it can move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.certified.bounds import Certificates, percentile_certificates
from iqa_robustness.defenses.certified.smoothing import Form, Smoothing
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.certified import certified_delta


@dataclass(frozen=True, kw_only=True)
class MedianSmoothing(Smoothing):
    """The median of the noisy scores, or another percentile, with bounds that hold within an l2 distance of `epsilon`.

    Source: Chiang et al., NeurIPS 2020; parameters as in the benchmark (σ .12, ε .05, n 1000, α .001), whose code
    reads both order statistics one place too low (`paper=True`): its upper bound is not quite as sure as it says.
    Cost: `n` forwards an image.
    Raises: ConfigurationError for values out of range, and without streams.

    epsilon: l2 radius, in units of 1.
    percentile: strictly between 0 and 1.
    target_delta: with several `looks`, sampling stops when the certified relative delta is at most this share of the
        score range.
    """

    name: ClassVar[str] = "ms"
    version: ClassVar[int] = 2
    form: ClassVar[Form] = "median"

    epsilon: float = 0.05
    percentile: float = 0.5
    target_delta: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.epsilon >= 0:
            raise ConfigurationError(f"the certified radius epsilon must not be negative, got {self.epsilon}")
        if not 0 < self.percentile < 1:
            raise ConfigurationError(f"the percentile must lie strictly between 0 and 1, got {self.percentile}")

    def certificates(
        self, draws: Tensor, *, selection: Tensor | None = None, score_range: tuple[float, float], family: int = 1
    ) -> Certificates:
        """Percentile and order statistics."""
        del selection, score_range
        return percentile_certificates(
            draws,
            percentile=self.percentile,
            sigma=self.sigma,
            epsilon=self.epsilon,
            alpha=self.level(family),
            places_too_low=1 if self.paper else 0,
        )

    def settled(self, certificates: Certificates, score_range: tuple[float, float]) -> bool:
        """The interval is narrow enough."""
        sides = (side.cpu().numpy() for side in (certificates.lower, certificates.scores, certificates.upper))
        return bool((certified_delta(*sides, diam=score_range[1] - score_range[0]) <= self.target_delta).all())
