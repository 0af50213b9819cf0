"""A cell: one experiment, small enough to compute, store and judge on its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BLACK_BOX = "square"
"""The attack of the black-box part of adaptive cells."""
_NAMES = ("metric", "defense", "attack", "strength", "source", "scenario", "goal", "seed")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (metric, defense, attack, strength, scenario, data set) with the sizes that the profile sets.

    metric, defense, attack: names as their registries resolve them; attack and strength are empty in scenarios `clean`
        and `soundness`.
    scenario: `clean` (no attack), `nonadaptive` (the attack knows the metric alone), `adaptive` (it attacks the
        defended metric), `certified` (a certified defense under non-adaptive attacks), `soundness` (its
        certificates, attacked inside their radii), `transfer` (see `source`).
    source: in scenario `transfer` what was attacked, as `metric/defense`, and the cell's pair scores the images; empty
        in the others.
    goal: the attacker wants to `raise` or to `lower` the reported quality.
    dataset: reference as `datasets.load` takes it.     images: how many of it, None for all.
    size: (height, width) the images are fitted to.     queries: budget of query attacks, forwards an image.
    max_forwards: limit for every attack, None for none.
    draws: forward passes an attack averages for one value of a stochastic target (EOT).
    n0, n: selection and estimation samples of certified defenses.
    seed: of everything random.
    scoring: how random pairs are scored: `one-shot`, `mean-of-K` or `worst-of-K`.
    doublings: how often the iterations of an adaptive attack are doubled.
    query_images: how many images the black-box part of an adaptive cell attacks, 0 for no such part.
    """

    metric: str
    defense: str
    attack: str = ""
    strength: str = ""
    source: str = ""
    scenario: str
    goal: str = "raise"
    dataset: str
    images: int | None
    size: tuple[int, int]
    queries: int
    max_forwards: int | None = None
    draws: int
    n0: int
    n: int
    seed: int = 0
    scoring: str = "one-shot"
    doublings: int = 0
    query_images: int = 0

    @property
    def id(self) -> str:
        """`metric/defense/attack/strength`, without the empty ones: the item's id and what `-k` matches.

        A transfer also names its source: `compact/jpeg/ifgsm/medium/from:compact/flip`.
        """
        source = f"from:{self.source}" if self.source else ""
        return "/".join(part for part in (self.metric, self.defense, self.attack, self.strength, source) if part)

    @property
    def name(self) -> str:
        """The id with scenario and goal: unique in a run."""
        return f"{self.scenario}:{self.id}" + ("" if self.goal == "raise" else f":{self.goal}")

    @property
    def pair(self) -> tuple[str, str]:
        """Metric and defense."""
        return self.metric, self.defense

    @property
    def attacked(self) -> tuple[str, str]:
        """Metric and defense that the adversarial images of a transfer were made against; the cell's own otherwise."""
        metric, _, defense = self.source.rpartition("/")
        return (metric, defense) if self.source else self.pair

    @property
    def knows_defense(self) -> bool:
        """Whether its attack looks at a defended metric: the pair itself, or the defended source of a transfer."""
        return self.scenario == "adaptive" or (bool(self.source) and self.attacked[1] != "none")

    @property
    def sizes(self) -> dict[str, Any]:
        """What of it sets how long it takes, as JSON values: everything but its names and its seed."""
        return {name: value for name, value in self.document.items() if name not in _NAMES}

    @property
    def document(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "size": [*self.size]}
