"""Randomized smoothing: the class of score that most noisy copies of the image fall into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipy.stats import norm
from torch import Tensor

from iqa_robustness.defenses.certified.bounds import Certificates, vote_certificates
from iqa_robustness.defenses.certified.score_classes import ScoreClasses
from iqa_robustness.defenses.certified.smoothing import Form, Smoothing
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.measures.certified import clopper_pearson_bounds


@dataclass(frozen=True, kw_only=True)
class RandomizedSmoothing(Smoothing):
    """The class, of twelve, that most noisy samples are scored into, and the l2 radius within which it stays that.

    As a metric it answers with the middle of the class. `n0` samples choose the class, `n` others count its votes.

    Source: Cohen et al., ICML 2019; classes and parameters as in the benchmark (σ .12, n0 100, n 1000, α .001).
    Cost: `n0` + `n` forwards an image.
    Raises: ConfigurationError for values out of range, and without streams.

    target_radius: with several `looks`, sampling stops when this l2 radius (units of 1) is certified, or is out of
        reach; 0 asks for any radius at all.
    """

    name: ClassVar[str] = "rs"
    version: ClassVar[int] = 1
    form: ClassVar[Form] = "classification"

    n0: int = 100
    target_radius: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n0 < 1:
            raise ConfigurationError(f"a class needs samples that choose it, got n0={self.n0}")

    @property
    def selecting(self) -> int:
        """`n0`."""
        return self.n0

    def certificates(
        self, draws: Tensor, *, selection: Tensor | None = None, score_range: tuple[float, float], family: int = 1
    ) -> Certificates:
        """Votes and radii."""
        if selection is None:
            raise ConfigurationError(
                "a class is chosen by other samples than those that count its votes",
                where=Where(defense=self.name),
                fix="pass selection=, (N, n0)",
            )
        return vote_certificates(
            draws,
            selection=selection,
            classes=ScoreClasses(score_range),
            sigma=self.sigma,
            alpha=self.level(family),
        )

    def settled(self, certificates: Certificates, score_range: tuple[float, float]) -> bool:
        """The radius is certified, or no share of votes that the samples leave possible would certify it."""
        del score_range
        reached = ~certificates.abstained & (certificates.radius >= self.target_radius)
        taken = (~certificates.draws.isnan()).sum(dim=1)
        _, highest = clopper_pearson_bounds(certificates.votes.cpu(), taken.cpu(), alpha=self.level(1))
        return bool(reached.all() or (highest <= norm.cdf(self.target_radius / self.sigma)).all())
