"""Parts of a run for several machines: every cell in exactly one, cells that share an attack in the same one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.estimate import grouped, passes_of
from iqa_robustness.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several parts. number: from 1 on.      count: of all parts."""

    number: int
    count: int

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """From `2/5`. Raises ConfigurationError."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise ConfigurationError(f"no shard: {text!r}", fix="write I/N with 1 <= I <= N, for one 2/5")
        return cls(number=int(number), count=int(count))

    def __str__(self) -> str:
        """As `parsed` takes it."""
        return f"{self.number}/{self.count}"

    def of(self, cells: Sequence[Cell]) -> list[Cell]:
        """This part of the cells, in their order."""
        chosen = {cell.name for group in shares(cells, self.count)[self.number - 1] for cell in group}
        return [cell for cell in cells if cell.name in chosen]


def shares(cells: Sequence[Cell], count: int) -> list[list[list[Cell]]]:
    """Groups of cells for each of so many machines, of about equal cost.

    The dearest group goes to the machine that has least to do, then the next. What they cost is estimated from the
    cells alone, never read from a store: machines that start at different times must agree on who does what.
    """
    groups = sorted(grouped(cells).items(), key=lambda item: (-passes_of(item[1]).weight, item[0]))
    found: list[list[list[Cell]]] = [[] for _ in range(count)]
    machines = [(0, number) for number in range(count)]
    for _, members in groups:
        load, number = heapq.heappop(machines)
        found[number].append(members)
        heapq.heappush(machines, (load + passes_of(members).weight, number))
    return found
