"""What a run would compute: cells, what the store has of them, passes through the metrics, time, memory and space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.durations import Taken, recorded_costs
from iqa_robustness.bench.estimate import Passes, passes_by_cell
from iqa_robustness.bench.pace import Pace, pace_of
from iqa_robustness.bench.resident import resident_mebibytes
from iqa_robustness.bench.runners.fitting import fitted_entry
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.storage import Space, space_by_cell
from iqa_robustness.errors import IqaRobustnessError, MissingCellError, StoreError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What one metric has in one scenario.

    cells, stored, computed: planned, in the store already, to be computed.
    recorded: of the latter, how many take what an earlier record of the cell says; the others are estimated.
    forwards, backwards: images through the metric for what is to be computed, estimated.
    seconds: of one process on this device; None where something of it is neither recorded nor measured.
    memory_mebibytes: on a GPU what a process holds of it, without the 700 MiB of its context; on a CPU what a process
        takes of the machine. The most that records of these cells tell; where there are none, measured in passes of
        the metric alone, so that what attacks and defenses keep comes on top (for a small metric 250 MiB). None where
        neither is known.
    images_mebibytes, records_mebibytes: what the store gets, adversarial images and everything else.
    longest_seconds: of the cell that takes longest; None as `seconds`.
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
    memory_mebibytes: float | None
    images_mebibytes: float
    records_mebibytes: float
    longest_seconds: float | None

    @property
    def store_mebibytes(self) -> float:
        """Images and records."""
        return self.images_mebibytes + self.records_mebibytes

    @property
    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "store_mebibytes": self.store_mebibytes}


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The rows of a plan.

    device: type of the device that was measured, for one `cuda`.
    micro_batch: rows of every forward pass.
    workers: processes that compute at once.
    troubles: by metric, why it cannot be made or measured here.
    """

    rows: tuple[PlanRow, ...]
    device: str
    micro_batch: int
    workers: int
    troubles: Mapping[str, str]

    @property
    def total(self) -> PlanRow:
        """All rows together; the memory is that of the largest."""
        rows = self.rows
        return PlanRow(
            metric="all",
            scenario="",
            cells=sum(row.cells for row in rows),
            stored=sum(row.stored for row in rows),
            computed=sum(row.computed for row in rows),
            recorded=sum(row.recorded for row in rows),
            forwards=sum(row.forwards for row in rows),
            backwards=sum(row.backwards for row in rows),
            seconds=_all_known([row.seconds for row in rows], sum),
            memory_mebibytes=_all_known([row.memory_mebibytes for row in rows if row.computed], max) or None,
            images_mebibytes=sum(row.images_mebibytes for row in rows),
            records_mebibytes=sum(row.records_mebibytes for row in rows),
            longest_seconds=_all_known([row.longest_seconds for row in rows], max),
        )

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
    missing = [cell for cell in cells if not _is_stored(cell, runner, troubles)]
    costs = _Costs(missing, recorded_costs(runner.store, cells, device=device))
    if measure:
        for metric, cell in {cell.metric: cell for cell in missing if cell.name not in costs.recorded}.items():
            try:
                costs.paces[metric] = pace_of(cell, runner)
            except Exception as error:  # a metric's own may be anything
                troubles.setdefault(metric, _said(error))
    rows = []
    for metric, scenario in sorted({(cell.metric, cell.scenario) for cell in cells}):
        mine = [cell for cell in cells if (cell.metric, cell.scenario) == (metric, scenario)]
        names = {cell.name for cell in mine}
        rows.append(costs.row(mine, [cell for cell in missing if cell.name in names], libraries))
    return Forecast(
        rows=tuple(rows), device=device, micro_batch=numerics.micro_batch, workers=workers, troubles=troubles
    )


class _Costs:
    """Of the cells that are to be computed.

    Args:
        missing: these cells.
        recorded: what cells took before, by name.
    """

    def __init__(self, missing: Sequence[Cell], recorded: Mapping[str, Taken]) -> None:
        self.passes, self.space = passes_by_cell(missing), space_by_cell(missing)
        self.recorded = recorded
        self.paces: dict[str, Pace] = {}

    def row(self, mine: Sequence[Cell], missing: Sequence[Cell], libraries: float) -> PlanRow:
        """Of one metric and scenario: its cells, those of them that are missing."""
        seconds = [self._seconds(cell) for cell in missing]
        passes = sum((self.passes[cell.name] for cell in missing), Passes())
        space = sum((self.space[cell.name] for cell in missing), Space())
        held = [taken.mebibytes for cell in mine if (taken := self.recorded.get(cell.name)) is not None]
        known = [mebibytes for mebibytes in held if mebibytes is not None]
        pace = self.paces.get(mine[0].metric)
        if not known and pace is not None and pace.mebibytes is not None:
            known = [libraries + pace.mebibytes]
        return PlanRow(
            metric=mine[0].metric,
            scenario=mine[0].scenario,
            cells=len(mine),
            stored=len(mine) - len(missing),
            computed=len(missing),
            recorded=sum(cell.name in self.recorded for cell in missing),
            forwards=passes.forwards,
            backwards=passes.backwards,
            seconds=_all_known(seconds, sum),
            memory_mebibytes=max(known, default=None),
            images_mebibytes=space.images,
            records_mebibytes=space.records,
            longest_seconds=_all_known(seconds, max),
        )

    def _seconds(self, cell: Cell) -> float | None:
        taken, pace, passes = self.recorded.get(cell.name), self.paces.get(cell.metric), self.passes[cell.name]
        if taken is not None:
            return taken.seconds
        return None if pace is None else pace.seconds(passes.forwards, passes.backwards)


def _is_stored(cell: Cell, runner: LocalRunner, troubles: dict[str, str]) -> bool:
    try:
        fitted_entry(runner, cell, runner.pair(cell))
    except (MissingCellError, StoreError):
        return False
    except Exception as error:  # a metric's own may be anything
        troubles.setdefault(cell.metric, _said(error))
        return False
    return True


def _said(error: Exception) -> str:
    what = error.what if isinstance(error, IqaRobustnessError) else str(error)
    return f"{type(error).__name__}: {what}".partition("\n")[0]


def _all_known(values: Sequence[float | None], combine: Callable[[list[float]], float]) -> float | None:
    """Combined where none is unknown; 0 of none."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return float(combine(known)) if known else 0.0
