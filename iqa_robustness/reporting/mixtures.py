"""The table of unknown attacks: how well mixes of clean and attacked images are ranked, with a defense and without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iqa_robustness.reporting.results import Outcome

TRUTHS = {"mos": "opinion scores", "clean": "f(x)"}
"""What the reported order is compared with, as headings name it."""


@dataclass(frozen=True, kw_only=True)
class MixtureRow:
    """A metric behind a defense in one scenario, under the attack that confuses its mixes most.

    attack: with its strength.
    places: by truth and share, (defended, undefended) mean SROCC; None where there is no number.
    """

    metric: str
    defense: str
    scenario: str
    attack: str
    places: dict[tuple[str, float], tuple[float | None, float | None]]

    def text(self, truth: str, share: float) -> str:
        """`0.71 (0.44)`: defended, and undefended in brackets; one number where nothing defends."""
        defended, undefended = self.places.get((truth, share), (None, None))
        if defended is None:
            return "–"
        if self.defense == "none" or undefended is None:
            return f"{defended:.2f}"
        return f"{defended:.2f} ({undefended:.2f})"


def mixture_columns(rows: Iterable[MixtureRow]) -> list[tuple[str, float]]:
    """The truths and shares that any row has, opinion scores first, shares rising."""
    order = [*TRUTHS]
    return sorted({place for row in rows for place in row.places}, key=lambda place: (order.index(place[0]), place[1]))


def mixture_rows(cells: Iterable[Outcome]) -> list[MixtureRow]:
    """One row for each metric, defense and scenario, `none` first: the cell whose mean over all its numbers is lowest.

    Only attacks that raise the score, so that equal goals are compared.
    """
    worst: dict[tuple[str, str, str], tuple[float, Outcome]] = {}
    for cell in cells:
        known = [m["defended"][0] for m in cell["mixtures"] if m["defended"][0] is not None]
        if not known or cell["goal"] != "raise":
            continue
        head = (cell["metric"], cell["defense"], cell["scenario"])
        mean = sum(known) / len(known)
        if head not in worst or mean < worst[head][0]:
            worst[head] = (mean, cell)
    order = {"nonadaptive": 0, "certified": 1, "adaptive": 2}
    heads = sorted(worst, key=lambda head: (head[0], head[1] != "none", head[1], order[head[2]]))
    return [
        MixtureRow(
            metric=head[0],
            defense=head[1],
            scenario=head[2],
            attack=f"{worst[head][1]['attack']}/{worst[head][1]['strength']}",
            places={
                (m["truth"], m["share"]): (m["defended"][0], m["undefended"][0]) for m in worst[head][1]["mixtures"]
            },
        )
        for head in heads
    ]
