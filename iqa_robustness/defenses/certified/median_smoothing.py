"""Median smoothing: the median score under Gaussian noise, and how far it can move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.certified.bounds import Certificates, percentile_certificates
from iqa_robustness.defenses.certified.smoothing import Form, Smoothing
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures.certified import family_wise


@dataclass(frozen=True, kw_only=True)
class MedianSmoothing(Smoothing):
    """The median of the noisy scores, or another percentile, with bounds that hold within an l2 distance of `epsilon`.

    Source: Chiang et al., NeurIPS 2020; parameters as in the benchmark (σ .12, ε .05, n 1000, α .001), whose code
    reads both order statistics one place too low.
    Cost: `n` forwards an image.
    Raises: ConfigurationError for values out of range, and without streams.

    epsilon: l2 radius, in units of 1.
    percentile: strictly between 0 and 1.
    """

    name: ClassVar[str] = "ms"
    version: ClassVar[int] = 1
    form: ClassVar[Form] = "median"

    epsilon: float = 0.05
    percentile: float = 0.5

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
            alpha=family_wise(self.alpha, family),
        )
