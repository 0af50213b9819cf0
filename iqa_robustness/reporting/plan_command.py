"""What a run would compute: cells, what the store has of them, passes through the metrics, time and space."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.estimate import Passes, grouped, images_of, passes_of
from iqa_robustness.bench.experiment import Experiment, add_run_arguments, experiment_of
from iqa_robustness.bench.plan import BETWEEN, Selection, parsed_patterns, planned
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.shards import Shard
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.streams import Streams

_AXES = ("metric", "defense", "attack", "strength", "scenario")
# PNG files of photographs with an attack's noise, bytes a pixel (measured on the bundled set).
_PNG_BYTES = 2.2


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What one metric has in one scenario.

    cells, stored, computed: planned, in the store already, to be computed.
    forwards, backwards: images through the metric for the latter, estimated.
    seconds: on one device of the kind that was measured; None where nothing was measured.
    mebibytes: of adversarial images that the store gets.
    """

    metric: str
    scenario: str
    cells: int
    stored: int
    computed: int
    forwards: int
    backwards: int
    seconds: float | None
    mebibytes: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness plan`."""
    add_selection_arguments(parser)
    parser.add_argument("--no-measure", action="store_true", help="do not run the metrics to measure their speed")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    add_run_arguments(parser)


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Which cells, as a run of pytest has it."""
    for axis in _AXES:
        parser.add_argument(f"--iqa-{axis}", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--iqa-shard", metavar="I/N", default="", help="only this part of the run")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is computed, but for a few passes of each metric that tell its speed."""
    experiment = experiment_of(options)
    rows = plan_rows(selected_cells(options, experiment), experiment.runner, measure=not options.no_measure)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print(described(rows))
    return 0


def selected_cells(options: argparse.Namespace, experiment: Experiment) -> list[Cell]:
    """The cells that the options select, of all scenarios."""
    user = Selection(**{axis: parsed_patterns(getattr(options, f"iqa_{axis}")) for axis in _AXES})
    cells: list[Cell] = []
    for scenario in SCENARIOS:
        for goal in GOALS[:1]:
            for between in BETWEEN if scenario == "transfer" else BETWEEN[:1]:
                plan = planned(
                    scenario=scenario,
                    profile=experiment.profile,
                    sizes=experiment.sizes,
                    user=user,
                    goal=goal,
                    load=True,
                    between=between,
                )
                cells += plan.cells
    return Shard.parsed(options.iqa_shard).of(cells) if options.iqa_shard else cells


def plan_rows(cells: Sequence[Cell], runner: LocalRunner, *, measure: bool) -> list[PlanRow]:
    """A row for each metric and scenario; cells whose metric cannot be made count as to be computed."""
    known = {cell.name for cell in cells if _stored(cell, runner)}
    speeds: dict[str, tuple[float, float] | None] = {}
    found = []
    for metric, scenario in sorted({(cell.metric, cell.scenario) for cell in cells}):
        mine = [cell for cell in cells if (cell.metric, cell.scenario) == (metric, scenario)]
        missing = [cell for cell in mine if cell.name not in known]
        total, pixels = Passes(), 0
        for members in grouped(missing).values():
            total += passes_of(members)
            pixels += sum(_pixels(cell) for cell in members[:1] if cell.attack)
        if measure and metric not in speeds and missing:
            speeds[metric] = _speed(missing[0], runner)
        speed = speeds.get(metric) if missing else (0.0, 0.0)
        found.append(
            PlanRow(
                metric=metric,
                scenario=scenario,
                cells=len(mine),
                stored=len(mine) - len(missing),
                computed=len(missing),
                forwards=total.forwards,
                backwards=total.backwards,
                seconds=None if speed is None else speed[0] * total.forwards + speed[1] * total.backwards,
                mebibytes=_PNG_BYTES * pixels / 2**20,
            )
        )
    return found


def described(rows: Sequence[PlanRow]) -> str:
    """An aligned table, and what it adds up to."""
    heads = ("metric", "scenario", "cells", "stored", "to compute", "forwards", "backwards", "time", "images, MiB")
    lines = [heads, *(_line(row) for row in rows)]
    seconds = [row.seconds for row in rows]
    whole = PlanRow(
        metric="all",
        scenario="",
        cells=sum(row.cells for row in rows),
        stored=sum(row.stored for row in rows),
        computed=sum(row.computed for row in rows),
        forwards=sum(row.forwards for row in rows),
        backwards=sum(row.backwards for row in rows),
        seconds=None if any(each is None for each in seconds) else sum(each or 0.0 for each in seconds),
        mebibytes=sum(row.mebibytes for row in rows),
    )
    return aligned([*lines, _line(whole)], left=2) + (
        "\n\nestimated: passes without early stops, trainings and purifiers' own work; time on one device"
    )


def _line(row: PlanRow) -> tuple[str, ...]:
    return (
        row.metric,
        row.scenario,
        f"{row.cells:,}",
        f"{row.stored:,}",
        f"{row.computed:,}",
        f"{row.forwards:,}",
        f"{row.backwards:,}",
        spoken_time(row.seconds),
        f"{row.mebibytes:,.0f}",
    )


def spoken_time(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`; a dash where nothing was measured."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _stored(cell: Cell, runner: LocalRunner) -> bool:
    try:
        return runner.store.get(runner.key(cell, runner.pair(cell))) is not None
    except IqaRobustnessError:
        return False


def _pixels(cell: Cell) -> int:
    return images_of(cell) * cell.size[0] * cell.size[1]


def _speed(cell: Cell, runner: LocalRunner) -> tuple[float, float] | None:
    """Seconds an image of a forward and of a backward pass, the better of two; None where the metric cannot run."""
    try:
        subject = runner.pair(cell).subject
        metric = subject.metric
        size = runner.stages.numerics.micro_batch
        device = runner.stages.numerics.device
        images = torch.full((size, 3, *cell.size), 0.5, device=device)
        streams = Streams("speed", [str(row) for row in range(size)], device=device)
        forward = min(_seconds(metric, images, streams, device, gradient=False) for _ in range(2))
        if not subject.probe.differentiable:
            return forward / size, 0.0
        both = min(_seconds(metric, images, streams, device, gradient=True) for _ in range(2))
        return forward / size, max(both - forward, 0.0) / size
    except (IqaRobustnessError, RuntimeError):
        return None


def _seconds(metric: Metric, images: torch.Tensor, streams: Streams, device: str, *, gradient: bool) -> float:
    reference = images if metric.spec.full_reference else None
    began = time.perf_counter()
    with torch.set_grad_enabled(gradient):
        leaf = images.detach().requires_grad_(gradient)
        scores = metric.evaluate(leaf, streams=streams, reference=reference)
        if gradient and scores.requires_grad:
            torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
