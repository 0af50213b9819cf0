"""Defenses ranked by what they take off the D_score for each millisecond that they add to an image."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iqa_robustness.reporting.results import Outcome, measure_of

# Attacks that do not look at the defense, so that the undefended metric has the same ones to be compared with.
_SCENARIOS = ("nonadaptive", "certified")


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A defense of a metric.

    undefended, defended: mean D_score in per cent of the range, over the cells that both have.
    cells: how many these are.
    added: milliseconds an image that the defense adds: those of its purification, or for a certified defense those of
        its samples beyond the metric's one forward; None where they were not measured.
    forward: milliseconds an image of scoring what the defense leaves of it.
    memory: mebibytes an image at the peak, None on a CPU.
    """

    metric: str
    defense: str
    undefended: float
    defended: float
    cells: int
    added: float | None
    forward: float | None
    memory: float | None

    @property
    def reduction(self) -> float:
        """What the defense takes off the D_score, in per cent of the range; negative where it adds to it."""
        return self.undefended - self.defended

    @property
    def per_millisecond(self) -> float | None:
        """The reduction for each millisecond added; None where none was measured."""
        return self.reduction / self.added if self.added is not None and self.added > 0 else None


def cost_rows(cells: Iterable[Outcome]) -> list[CostRow]:
    """One row for each metric and defense that share an attack with the undefended metric, best value first."""
    shifts: dict[tuple[str, str], dict[tuple[str, str], float]] = defaultdict(dict)
    costs: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(dict)
    for cell in cells:
        pair = (cell["metric"], cell["defense"])
        if cell["cost"]:
            costs[pair] = cell["cost"]
        if cell["scenario"] in _SCENARIOS and cell["goal"] == "raise" and "d_score" in cell["measures"]:
            shifts[pair][cell["attack"], cell["strength"]] = measure_of(cell, "d_score")
    rows = []
    for (metric, defense), found in shifts.items():
        bare = shifts.get((metric, "none"), {})
        common = [how for how in found if how in bare]
        if defense == "none" or not common:
            continue
        cost, alone = costs[metric, defense], costs[metric, "none"]
        rows.append(
            CostRow(
                metric=metric,
                defense=defense,
                undefended=statistics.fmean(bare[how] for how in common),
                defended=statistics.fmean(found[how] for how in common),
                cells=len(common),
                added=added(cost, alone),
                forward=cost.get("forward", {}).get("milliseconds"),
                memory=max((facts["mebibytes"] for facts in cost.values() if "mebibytes" in facts), default=None),
            )
        )
    return sorted(rows, key=lambda row: (row.metric, *_rank(row), row.defense))


def added(cost: Mapping[str, Mapping[str, float]], alone: Mapping[str, Mapping[str, float]]) -> float | None:
    """Milliseconds an image that a defense adds, by what its cells and the undefended metric's cost; see `CostRow`."""
    if "purify" in cost:
        return cost["purify"]["milliseconds"]
    if "forward" in cost and "forward" in alone:
        return cost["forward"]["milliseconds"] - alone["forward"]["milliseconds"]
    return None


def _rank(row: CostRow) -> tuple[bool, float]:
    value = row.per_millisecond
    return (value is None, 0.0 if value is None else -value)
