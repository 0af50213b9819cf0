"""`iqa-robustness plan`: what a run would compute, as a table and as JSON."""

from __future__ import annotations

import argparse
import json

from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.experiment import Experiment, add_run_arguments, experiment_of
from iqa_robustness.bench.forecast import Forecast, PlanRow, forecast
from iqa_robustness.bench.plan import BETWEEN, Selection, parsed_patterns, planned
from iqa_robustness.bench.shards import Shard
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.spoken_time import spoken_time

_AXES = ("metric", "defense", "attack", "strength", "scenario")
_HEADS = (
    "metric",
    "scenario",
    "cells",
    "stored",
    "to compute",
    "forwards",
    "backwards",
    "time",
    "memory, MiB",
    "store, MiB",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness plan`."""
    add_selection_arguments(parser)
    parser.add_argument("--no-measure", action="store_true", help="do not run the metrics to measure their speed")
    parser.add_argument("--workers", type=int, metavar="N", default=1, help="processes that compute at once [1]")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    add_run_arguments(parser)


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Which cells, as a run of pytest has it."""
    for axis in _AXES:
        parser.add_argument(f"--iqa-{axis}", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--iqa-shard", metavar="I/N", default="", help="only this part of the run")


def run(options: argparse.Namespace) -> int:
    """Print the plan; nothing is computed, but for a few passes of each metric that tell its speed and memory."""
    if options.workers < 1:
        raise ConfigurationError(f"--workers must be at least 1, got {options.workers}")
    experiment = experiment_of(options, computes=False)
    cells = selected_cells(options, experiment)
    found = forecast(cells, experiment.runner, measure=not options.no_measure, workers=options.workers)
    print(as_json(found) if options.json else described(found))
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


def as_json(found: Forecast) -> str:
    """The plan for machines."""
    return json.dumps(found.document, indent=1)


def described(found: Forecast) -> str:
    """An aligned table, what it adds up to, and where the numbers come from."""
    rows = (*found.rows, found.total)
    return "\n".join([aligned([_HEADS, *map(_line, rows)], left=2), "", *_footer(found)])


def _footer(found: Forecast) -> list[str]:
    total = found.total
    hours = f"{_spoken_hours(found.device_hours)} {'GPU' if found.device == 'cuda' else 'processor'}-hours"
    lines = [f"{hours} on {found.device}; at best {spoken_time(found.elapsed_seconds)} with {_spoken(found.workers)}"]
    estimated = total.computed - total.recorded
    if total.recorded:
        lines.append(f"time: {total.recorded} of {total.computed} cells as in records of the store")
    if estimated and total.seconds is not None:
        lines.append(
            f"time: {estimated} of {total.computed} cells by passes, as measured here; without early stops, trainings "
            "and purifiers' own work"
        )
    what = "of the GPU, beside its context" if found.device == "cuda" else "of the machine"
    lines.append(
        f"memory: of one process, {what}, with a micro-batch of {found.micro_batch}; as in records of the store, else "
        "at least so much, as measured in passes of the metric alone"
    )
    if total.not_applicable:
        lines.append(f"not applicable: {total.not_applicable} cells, which say nothing about their metric")
    lines.append(
        f"store: {total.images_mebibytes:,.0f} MiB of adversarial images, {total.records_mebibytes:,.0f} MiB of records"
    )
    return lines + [f"{metric} cannot be used here: {why}" for metric, why in sorted(found.troubles.items())]


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
        "–" if row.memory_mebibytes is None else f"{row.memory_mebibytes:,.0f}",
        f"{row.store_mebibytes:,.0f}",
    )


def _spoken_hours(hours: float | None) -> str:
    return "–" if hours is None else f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"


def _spoken(workers: int) -> str:
    return "one worker" if workers == 1 else f"{workers} workers"
