"""What a run would compute: cells, what the store has of them, passes through the metrics, time, memory and space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iqa_robustness.bench.applicable import check_applicable
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.durations import Taken, recorded_costs
from iqa_robustness.bench.estimate import Passes, passes_by_cell
from iqa_robustness.bench.pace import Pace, pace_of
from iqa_robustness.bench.resident import resident_mebibytes
from iqa_robustness.bench.runners.fitting import fitted_entry
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.storage import Space, space_by_cell
from iqa_robustness.errors import CapabilityError, IqaRobustnessError, MissingCellError, StoreError

SCHEMA = 1
STORED, MISSING, NOT_APPLICABLE = "stored", "to compute", "not applicable"


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One cell of a plan.

    state: `STORED`, `MISSING`, or `NOT_APPLICABLE` where the attack or the images say nothing about this metric.
    recorded: it is missing, and takes what an earlier record of the cell says.
    forwards, backwards: images through the metric, estimated; 0 of what is not to be computed, as everything below.
    seconds: of one process on this device; None where they are neither recorded nor measured.
    images_mebibytes, records_mebibytes: what the store gets, adversarial images and everything else.
    """

    name: str
    metric: str
    scenario: str
    state: str
    recorded: bool = False
    forwards: int = 0
    backwards: int = 0
    seconds: float | None = 0.0
    images_mebibytes: float = 0.0
    records_mebibytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What one metric has in one scenario.

    cells, stored, computed: planned, in the store already, to be computed; the others are not applicable.
    recorded: of those to be computed, how many take what an earlier record of the cell says.
    forwards, backwards, seconds, images_mebibytes, records_mebibytes: of all cells, see `PlannedCell`.
    longest_seconds: of the cell that takes longest.
    memory_mebibytes: on a GPU what a process holds of it, without the 700 MiB of its context; on a CPU what a process
        takes of the machine. The most that records of these cells tell; where there are none, measured in passes of
        the metric alone, so that what attacks and defenses keep comes on top (for a small metric 250 MiB). None where
        neither is known.
    """

    metric: str
    scenario: str
    cells: int
    stored: int
    computed: int
    recorded: int
    forwards: int
    backwards: int
    seconds: float | None
    longest_seconds: float | None
    memory_mebibytes: float | None
    images_mebibytes: float
    records_mebibytes: float

    @classmethod
    def of(cls, cells: Sequence[PlannedCell], memory: float | None, *, metric: str, scenario: str) -> PlanRow:
        """Of some cells together, and the memory of a process that computes them."""
        seconds = [cell.seconds for cell in cells]
        return cls(
            metric=metric,
            scenario=scenario,
            cells=len(cells),
            stored=sum(cell.state == STORED for cell in cells),
            computed=sum(cell.state == MISSING for cell in cells),
            recorded=sum(cell.recorded for cell in cells),
            forwards=sum(cell.forwards for cell in cells),
            backwards=sum(cell.backwards for cell in cells),
            seconds=_all_known(seconds, sum),
            longest_seconds=_all_known(seconds, max),
            memory_mebibytes=memory,
            images_mebibytes=sum(cell.images_mebibytes for cell in cells),
            records_mebibytes=sum(cell.records_mebibytes for cell in cells),
        )

    @property
    def store_mebibytes(self) -> float:
        """Images and records."""
        return self.images_mebibytes + self.records_mebibytes

    @property
    def not_applicable(self) -> int:
        """Neither stored nor to be computed."""
        return self.cells - self.stored - self.computed

    @property
    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "store_mebibytes": self.store_mebibytes, "not_applicable": self.not_applicable}


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan.

    cells: in the order of the run.
    rows: for each metric and scenario.
    device: type of the device that was measured, for one `cuda`.
    micro_batch: rows of every forward pass.
    workers: processes that compute at once.
    troubles: by metric, why it cannot be made or measured here.
    """

    cells: tuple[PlannedCell, ...]
    rows: tuple[PlanRow, ...]
    device: str
    micro_batch: int
    workers: int
    troubles: Mapping[str, str]

    @property
    def total(self) -> PlanRow:
        """All rows together; the memory is that of the largest."""
        largest = _all_known([row.memory_mebibytes for row in self.rows if row.computed], max)
        return PlanRow.of(self.cells, largest or None, metric="all", scenario="")

    @property
    def device_hours(self) -> float | None:
        """GPU-hours, or on a CPU processor-hours, as each process has one thread."""
        seconds = self.total.seconds
        return None if seconds is None else seconds / 3600

    @property
    def elapsed_seconds(self) -> float | None:
        """Of the whole run with `workers`, at best: none of them waits, and no cell is divided."""
        total = self.total
        if total.seconds is None or total.longest_seconds is None:
            return None
        return max(total.seconds / self.workers, total.longest_seconds)

    @property
    def document(self) -> dict[str, Any]:
        """As JSON values; units are in the names."""
        return {
            "schema": SCHEMA,
            "device": self.device,
            "micro_batch": self.micro_batch,
            "workers": self.workers,
            "cells": [asdict(cell) for cell in self.cells],
            "rows": [row.document for row in self.rows],
            "totals": {
                **{name: value for name, value in self.total.document.items() if name not in ("metric", "scenario")},
                "device_hours": self.device_hours,
                "elapsed_seconds": self.elapsed_seconds,
            },
            "troubles": dict(self.troubles),
        }


def forecast(cells: Sequence[Cell], runner: LocalRunner, *, measure: bool, workers: int = 1) -> Forecast:
    """The plan of some cells: a row for each metric and scenario. Nothing is computed but a few passes of each metric.

    Args:
        cells: of a run; those whose metric cannot be made count as to be computed.
        runner: one that computes nothing (`from_store`), on the run's device.
        measure: run the metrics to see how fast they are and what memory they take.
        workers: processes that compute at once.
    """
    numerics = runner.stages.numerics
    device = numerics.document["device"]
    # Of a process without metrics: the first that is looked at stays in memory.
    libraries = (resident_mebibytes() or 0.0) if device == "cpu" else 0.0
    troubles: dict[str, str] = {}
    states = {cell.name: _state(cell, runner, troubles) for cell in cells}
    missing = [cell for cell in cells if states[cell.name] == MISSING]
    recorded = recorded_costs(runner.store, cells, device=device)
    paces: dict[str, Pace] = {}
    if measure:
        for metric, cell in {cell.metric: cell for cell in missing if cell.name not in recorded}.items():
            try:
                paces[metric] = pace_of(cell, runner)
            except Exception as error:  # a metric's own may be anything
                troubles.setdefault(metric, _said(error))
    passes, space = passes_by_cell(missing), space_by_cell(missing)
    planned = [
        PlannedCell(
            name=cell.name,
            metric=cell.metric,
            scenario=cell.scenario,
            state=states[cell.name],
            **(
                _costs(passes[cell.name], space[cell.name], recorded.get(cell.name), paces.get(cell.metric))
                if states[cell.name] == MISSING
                else {}
            ),
        )
        for cell in cells
    ]
    rows = []
    for metric, scenario in sorted({(cell.metric, cell.scenario) for cell in planned}):
        mine = [cell for cell in planned if (cell.metric, cell.scenario) == (metric, scenario)]
        held = [recorded[cell.name].mebibytes for cell in mine if cell.name in recorded]
        memory = max((mebibytes for mebibytes in held if mebibytes is not None), default=None)
        pace = paces.get(metric)
        if memory is None and pace is not None and pace.mebibytes is not None:
            memory = libraries + pace.mebibytes
        rows.append(PlanRow.of(mine, memory, metric=metric, scenario=scenario))
    return Forecast(
        cells=tuple(planned),
        rows=tuple(rows),
        device=device,
        micro_batch=numerics.micro_batch,
        workers=workers,
        troubles=troubles,
    )


def _costs(passes: Passes, space: Space, taken: Taken | None, pace: Pace | None) -> dict[str, Any]:
    """Fields of a cell that is to be computed."""
    estimated = None if pace is None else pace.seconds(passes.forwards, passes.backwards)
    return {
        "recorded": taken is not None,
        "forwards": passes.forwards,
        "backwards": passes.backwards,
        "seconds": estimated if taken is None else taken.seconds,
        "images_mebibytes": space.images,
        "records_mebibytes": space.records,
    }


def _state(cell: Cell, runner: LocalRunner, troubles: dict[str, str]) -> str:
    try:
        pair = runner.pair(cell)
        has_references = runner.clean(cell).view.has_references
        check_applicable(cell, pair, runner.attacked(cell, pair), has_references=has_references)
        fitted_entry(runner, cell, pair)
    except CapabilityError:
        return NOT_APPLICABLE
    except (MissingCellError, StoreError):
        return MISSING
    except Exception as error:  # a metric's own may be anything
        troubles.setdefault(cell.metric, _said(error))
        return MISSING
    return STORED


def _said(error: Exception) -> str:
    what = error.what if isinstance(error, IqaRobustnessError) else str(error)
    return f"{type(error).__name__}: {what}".partition("\n")[0]


def _all_known(values: Sequence[float | None], combine: Callable[[list[float]], float]) -> float | None:
    """Combined where none is unknown; 0 of none."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return float(combine(known)) if known else 0.0
