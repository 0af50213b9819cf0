"""How long cells took where they were computed, how long others will take by it, and what memory they held."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from iqa_robustness.bench.cell import Cell
from iqa_robustness.store import Store

# Of a run that has nothing to go by: estimates are compared with each other only.
_SECONDS_A_FORWARD = 0.01


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a cell took where it was computed.

    seconds: of one process; an attack that it shares with other cells counts where it was computed.
    mebibytes: the most that its process had held until then, of the GPU, or on a CPU of the machine; None where that
        was not noted.
    """

    seconds: float
    mebibytes: float | None


def recorded_costs(store: Store, cells: Iterable[Cell], *, device: str) -> dict[str, Taken]:
    """By the cell's name, of its newest record with the same sizes on a device of this type.

    The record may be of another version of the metric, or of another seed: that changes little of what a cell takes.
    """
    sizes = {cell.name: cell.sizes for cell in cells}
    memory = "resident_mebibytes" if device == "cpu" else "mebibytes"
    newest: dict[str, tuple[str, Taken]] = {}
    for facts in _volatile(store):
        name = facts.get("cell")
        if name not in sizes or facts.get("sizes") != sizes[name] or facts.get("device") != device:
            continue
        created, seconds, held = str(facts.get("created", "")), facts.get("seconds"), facts.get(memory)
        if isinstance(seconds, (int, float)) and (name not in newest or newest[name][0] <= created):
            mebibytes = float(held) if isinstance(held, (int, float)) else None
            newest[name] = (created, Taken(seconds=float(seconds), mebibytes=mebibytes))
    return {name: taken for name, (_, taken) in newest.items()}


def recorded_seconds(store: Store) -> dict[str, float]:
    """Seconds by the cell's name, of the newest record of each; what cannot be read is left out.

    A name says nothing of sizes: the record may be of another profile. That orders cells well enough, and no number of
    a verdict depends on it.
    """
    newest: dict[str, tuple[str, float]] = {}
    for facts in _volatile(store):
        try:
            name, found = str(facts["cell"]), (str(facts["created"]), float(facts["seconds"]))
        except (KeyError, TypeError, ValueError):
            continue
        newest[name] = max(newest.get(name, found), found)
    return {name: seconds for name, (_, seconds) in newest.items()}


def recorded_mebibytes(store: Store) -> float | None:
    """The most that a process is known to have held of a GPU; None where no cell was computed on one."""
    found = [facts["mebibytes"] for facts in _volatile(store) if isinstance(facts.get("mebibytes"), (int, float))]
    return max(found, default=None)


def expected_seconds(weights: Mapping[str, float], recorded: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every cell: as recorded; of the others as estimated, at the pace of those that are.

    Args:
        weights: estimated forwards by the cell's name.
        recorded: seconds by the cell's name.
    """
    paces = [recorded[name] / weight for name, weight in weights.items() if name in recorded and weight > 0]
    pace = statistics.median(paces) if paces else _SECONDS_A_FORWARD
    return {name: recorded.get(name, weight * pace) for name, weight in weights.items()}


def _volatile(store: Store) -> list[dict[str, Any]]:
    """What runs noted beside their records."""
    paths = [f"{store.path_of(digest)}/volatile.json" for digest in store.digests(holding="record.parquet")]
    if not paths:
        return []
    # At once: one after the other, an object store takes minutes.
    found = store.fs.cat(paths, on_error="omit")
    parsed = []
    for content in found.values() if isinstance(found, dict) else [found]:
        try:
            facts = json.loads(content)
        except ValueError:
            continue
        if isinstance(facts, dict):
            parsed.append(facts)
    return parsed
