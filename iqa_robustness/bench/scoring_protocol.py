"""How many draws of a random pair make a score, and which statistic of them: one-shot, mean-of-k, worst-of-k."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import ConfigurationError

if TYPE_CHECKING:  # the options are read before torch is loaded
    from iqa_robustness.bench.pair import Pair

_NAME = re.compile(r"(mean|worst)-of-(\d+)")

Statistic = Literal["mean", "highest", "lowest"]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One statistic of an image's draws.

    statistic: `mean`, `highest` or `lowest`.      draws: how many, each with fresh noise.
    """

    statistic: Statistic = "mean"
    draws: int = 1

    @property
    def document(self) -> dict[str, Any]:
        """What it adds to a key; nothing for a single draw, which is what a deterministic pair has."""
        return {} if self.draws == 1 else {"scoring": {"statistic": self.statistic, "draws": self.draws}}

    def of(self, draws: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The statistic of (N, k) numbers, (N,): their mean, or that of the draw whose (N, k) score is extreme."""
        if self.statistic == "mean":
            mean: np.ndarray = draws.mean(axis=1)
            return mean
        extreme = scores.argmax(axis=1) if self.statistic == "highest" else scores.argmin(axis=1)
        chosen: np.ndarray = np.take_along_axis(draws, extreme[:, None], axis=1)[:, 0]
        return chosen


ONE_SHOT = Scoring()


@dataclass(frozen=True, kw_only=True)
class ScoringProtocol:
    """A named protocol: what is taken of the draws, for clean images and for attacked ones.

    `one-shot`: a single draw. `mean-of-k`: the mean of k draws. `worst-of-k`: of attacked images (and of their placebo,
    so that the excess over it is no maximum of noise) the draw that serves the attacker best, of clean ones the mean.
    """

    kind: Literal["one-shot", "mean", "worst"] = "one-shot"
    draws: int = 1

    @classmethod
    def parsed(cls, name: str) -> ScoringProtocol:
        """From its name. Raises ConfigurationError."""
        if name == "one-shot":
            return cls()
        found = _NAME.fullmatch(name)
        if found is None or int(found[2]) < 2:
            raise ConfigurationError(
                f"no scoring protocol: {name!r}", fix="take one-shot, mean-of-K or worst-of-K with K of at least 2"
            )
        return cls(kind="mean" if found[1] == "mean" else "worst", draws=int(found[2]))

    @property
    def name(self) -> str:
        """As `parsed` takes it."""
        return self.kind if self.kind == "one-shot" else f"{self.kind}-of-{self.draws}"

    @property
    def clean(self) -> Scoring:
        """Of clean images."""
        return Scoring(draws=self.draws)

    def attacked(self, *, goal: str, higher_is_better: bool) -> Scoring:
        """Of attacked images, and of what is compared with them."""
        if self.kind != "worst":
            return self.clean
        return Scoring(statistic="highest" if (goal == "raise") == higher_is_better else "lowest", draws=self.draws)


def scoring_name(cell: Cell, pair: Pair) -> str:
    """The protocol as the record names it: certified defenses have their own, a deterministic pair needs one shot."""
    from iqa_robustness.defenses.certified.smoothing import Smoothing

    if isinstance(pair.defense, Smoothing):
        what = "class" if pair.defense.form == "classification" else "median"
        return f"{what}-of-{pair.defense.n}"
    protocol = ScoringProtocol.parsed(cell.scoring)
    return protocol.name if pair.guarded.spec.stochastic else "one-shot"


def scorings(cell: Cell, pair: Pair) -> tuple[Scoring, Scoring]:
    """How clean images are scored, and how attacked ones are and what is compared with them."""
    protocol = ScoringProtocol.parsed(cell.scoring)
    up = pair.subject.metric.spec.higher_is_better
    return protocol.clean, protocol.attacked(goal=cell.goal, higher_is_better=up)
