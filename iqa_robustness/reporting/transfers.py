"""Matrices of transferred attacks: who was attacked, who scored the images, and what was gained there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iqa_robustness.reporting.results import Outcome, is_control

# Per cent of the range: where the white-box attack gains less, a share of its gain says nothing.
_LEAST_SCALE = 1.0

Gain = tuple[float, float | None, float | None]
"""Value, low and high in per cent of the range; None for a bound that does not exist."""


@dataclass(frozen=True, kw_only=True)
class TransferMatrix:
    """One attack at one strength, from each to each.

    subject: what the rows and columns have in common: a metric, or `undefended metrics`.
    attack, strength, goal: of the attack.
    kind: `defense` or `metric`, what the rows and columns are.
    names: of the columns, who scored the images.     sources: of the rows, who was attacked.
    gains: rows by columns; the mean of f(P(x')) − f(P(x)) towards the attack's goal in per cent of the range of the
        metric that scored, with its bounds; None where the run has no such cell.
    """

    subject: str
    attack: str
    strength: str
    goal: str
    kind: str
    sources: tuple[str, ...]
    names: tuple[str, ...]
    gains: tuple[tuple[Gain | None, ...], ...]

    @property
    def title(self) -> str:
        """In words."""
        wanted = "" if self.goal == "raise" else ", lowering"
        return f"{self.subject}: {self.attack} {self.strength}{wanted}, from each {self.kind} to each"

    def share(self, row: int, column: int) -> float:
        """How much of the white-box gain of its row a place has, 0 to 1; of the row's largest where that is unknown."""
        found = self.gains[row][column]
        if found is None:
            return 0.0
        known = [place[0] for place in self.gains[row] if place is not None]
        own = self.gains[row][self.names.index(self.sources[row])] if self.sources[row] in self.names else None
        scale = max(own[0] if own is not None else max(known), _LEAST_SCALE)
        return min(max(found[0] / scale, 0.0), 1.0)


def transfer_matrices(cells: Iterable[Outcome]) -> list[TransferMatrix]:
    """The matrices of a run, between the defenses of each metric and then between undefended metrics.

    A cell of an undefended metric attacked by itself is white-box in both kinds. Planted subjects are left out, and so
    is what has no other place beside it.
    """
    found: dict[tuple[str, ...], dict[tuple[str, str], Gain]] = {}
    for cell in cells:
        measured = cell["measures"].get("gain_defended")
        if not cell["source"] or measured is None or measured[0] is None or is_control(cell):
            continue
        metric, _, defense = str(cell["source"]).rpartition("/")
        how = (cell["attack"], cell["strength"], cell["goal"])
        gain = _towards(cell["goal"], measured)
        if metric == cell["metric"]:
            found.setdefault(("0", metric, "defense", *how), {})[defense, cell["defense"]] = gain
        if defense == cell["defense"] == "none":
            found.setdefault(("1", "undefended metrics", "metric", *how), {})[metric, cell["metric"]] = gain
    return [_matrix(head[1:], found[head]) for head in sorted(found) if len(found[head]) > 1]


def _towards(goal: str, measured: Sequence[float | None]) -> Gain:
    value, low, high = (math.nan if number is None else float(number) for number in measured)
    if goal == "lower":
        value, low, high = -value, -high, -low
    return value, None if math.isnan(low) else low, None if math.isnan(high) else high


def _matrix(head: tuple[str, ...], places: dict[tuple[str, str], Gain]) -> TransferMatrix:
    subject, kind, attack, strength, goal = head
    sources, names = (
        tuple(sorted({place[side] for place in places}, key=lambda name: (name != "none", name))) for side in (0, 1)
    )
    return TransferMatrix(
        subject=subject,
        attack=attack,
        strength=strength,
        goal=goal,
        kind=kind,
        sources=sources,
        names=names,
        gains=tuple(tuple(places.get((source, name)) for name in names) for source in sources),
    )
