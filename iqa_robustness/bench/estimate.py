"""What cells will cost, before anything is computed: images through the metric, forward and backward."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from iqa_robustness import attacks, datasets, defenses
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.convergence import CONVERGENCE_IMAGES
from iqa_robustness.errors import IqaRobustnessError

# A backward pass takes about twice a forward one (measured on the bundled metrics: 0.9 and 1.7 of it).
BACKWARD = 2
# Of attacks that say nothing of their steps: one gradient.
_ONE = 1
# Certified defenses score clean, attacked, placebo and, once more, clean images, n noisy samples of each.
CERTIFIED_STATES = 4

Group = tuple[str, ...]
"""Cells that share adversarial images: attacked metric, attack, strength, goal; of clean cells the metric alone."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Images through the metric."""

    forwards: int = 0
    backwards: int = 0

    def __add__(self, other: Passes) -> Passes:
        """Both together."""
        return Passes(forwards=self.forwards + other.forwards, backwards=self.backwards + other.backwards)

    def __mul__(self, times: int) -> Passes:
        """So many times as many."""
        return Passes(forwards=self.forwards * times, backwards=self.backwards * times)

    @property
    def weight(self) -> int:
        """In forwards, a backward pass counted as two."""
        return self.forwards + BACKWARD * self.backwards


def group_of(cell: Cell) -> Group:
    """The group of a cell: its cells are computed together, or the attack is run twice."""
    if not cell.attack:
        return (cell.metric,)
    return (cell.attacked[0], cell.attack, cell.strength, cell.goal)


def grouped(cells: Iterable[Cell]) -> dict[Group, list[Cell]]:
    """Cells by group, in their order."""
    found: dict[Group, list[Cell]] = {}
    for cell in cells:
        found.setdefault(group_of(cell), []).append(cell)
    return found


def passes_of(cells: Sequence[Cell]) -> Passes:
    """Of cells of one group: the attack on the metric once, and what each cell adds to it.

    An estimate: images that stop early, trainings of trained attacks and what the store already holds are not known
    here. Purifiers' own work is not counted either, nor what proves an attack on a planted metric.
    """
    total = Passes()
    if any(cell.attack for cell in cells):
        # Adaptive cells take these images too, as the transferred ones.
        first = cells[0]
        total += attack_passes(first.attack, first.queries) * images_of(first)
    for cell in cells:
        total += _own_passes(cell)
    return total


def passes_by_cell(cells: Iterable[Cell]) -> dict[str, Passes]:
    """What each cell costs, by its name; the first of a group bears the attack that all of it share."""
    return {
        cell.name: passes_of([cell]) if first else _own_passes(cell)
        for members in grouped(cells).values()
        for first, cell in zip([True, *([False] * (len(members) - 1))], members, strict=True)
    }


def weights_of(cells: Iterable[Cell]) -> dict[str, int]:
    """The same in forwards."""
    return {name: passes.weight for name, passes in passes_by_cell(cells).items()}


@cache
def attack_passes(name: str, queries: int) -> Passes:
    """Of one image under an attack with its default number of steps."""
    if attacks.registry.resolve(name).access == "black-box":
        return Passes(forwards=queries)
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(attacks.registry.load(name))}
    steps = _ONE
    for field in ("steps", "restarts", "searches"):
        steps *= fields[field] if isinstance(fields.get(field), int) else 1
    return Passes(forwards=steps + 1, backwards=steps)


def _own_passes(cell: Cell) -> Passes:
    """What a cell adds: scores, and in an adaptive one its own attack, a longer one, and queries."""
    defense = defenses.registry.resolve(cell.defense)
    images = images_of(cell)
    samples = cell.n0 + cell.n if defense.kind == "certified" else 1
    # Clean and attacked by the bare metric, and each state by the defended one.
    total = Passes(forwards=images * (2 + CERTIFIED_STATES * samples if cell.attack else 1 + samples))
    if not cell.attack:
        return total
    if cell.scenario == "adaptive":
        # Its black-box images are those of the pair's own black-box cell, a transfer's are those of its source's cell.
        searched = attack_passes(cell.attack, cell.queries) * (
            2**cell.doublings * (cell.draws if _is_random(cell.attacked[1]) else 1)
        )
        total += searched * images + searched * (2 * min(CONVERGENCE_IMAGES, images))
    return total


@cache
def _is_random(defense: str) -> bool:
    try:
        return defenses.create(defense).stochastic
    except IqaRobustnessError:  # it cannot be made here: what it would be is not known
        return False


def images_of(cell: Cell) -> int:
    """How many a cell has: no more than its data set."""
    available = _length(cell.dataset)
    return available if cell.images is None else min(cell.images, available)


@cache
def _length(dataset: str) -> int:
    return len(datasets.load(dataset))
