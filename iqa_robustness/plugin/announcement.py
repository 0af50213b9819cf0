"""What a worker tells the controller of its items before they are handed out: which cell each is, and what it costs.

The controller collects nothing, and node ids are all that pytest-xdist sends it. An execnet channel of our own goes
along with a worker's input and arrives before the worker's list of ids, since both travel through one connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.plugin.outcomes import AXES
from iqa_robustness.plugin.session import robustness_session, started

CHANNEL = "iqa_channel"


@dataclass(frozen=True, kw_only=True)
class Announced:
    """One item that is a cell.

    name, id: of the cell.      axes: the cell's names.
    group: number of the cells that share work with it.
    weight: estimated forwards.
    """

    name: str
    id: str
    axes: dict[str, str]
    group: int
    weight: float


def announce(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """From a worker: what its items are; nothing where none is a cell, or nobody listens."""
    channel = config.workerinput.get(CHANNEL)  # type: ignore[attr-defined]
    if channel is None or not started(config):
        return
    session = robustness_session(config)
    names = [cell_name(item) for item in items]
    cells = [session.cells[name] for name in dict.fromkeys(names) if name]
    if cells:
        channel.send(packed(names, cells))


def cell_name(item: pytest.Item) -> str:
    """The name of an item's cell; empty for other items."""
    callspec = getattr(item, "callspec", None)
    name = callspec.params.get("cell") if callspec is not None else None
    return name if isinstance(name, str) and item.get_closest_marker("iqa_cells") is not None else ""


def packed(names: Sequence[str], cells: Sequence[Cell]) -> str:
    """JSON of the items' cells: a number for each item, -1 where it has none, and each cell once."""
    from iqa_robustness.bench.estimate import group_of

    numbers = {cell.name: number for number, cell in enumerate(cells)}
    groups = {group: number for number, group in enumerate(dict.fromkeys(map(group_of, cells)))}
    weights = _weights(cells)
    return json.dumps(
        {
            "items": [numbers.get(name, -1) for name in names],
            "cells": [
                [c.name, c.id, [getattr(c, axis) for axis in AXES], groups[group_of(c)], weights[c.name]] for c in cells
            ],
        }
    )


def unpacked(text: str) -> list[Announced | None]:
    """What `packed` sent, an entry for each item."""
    document: dict[str, Any] = json.loads(text)
    cells = [
        Announced(name=name, id=id_, axes=dict(zip(AXES, axes, strict=True)), group=group, weight=weight)
        for name, id_, axes, group, weight in document["cells"]
    ]
    return [cells[number] if number >= 0 else None for number in document["items"]]


def _weights(cells: Sequence[Cell]) -> dict[str, int]:
    """Estimates; equal ones where a cell cannot be estimated, whose own item will say why."""
    from iqa_robustness.bench.estimate import weights_of

    try:
        return weights_of(cells)
    except (IqaRobustnessError, OSError):
        return {cell.name: 1 for cell in cells}
