"""Fill the store with the cells of a plan, here or on a Ray cluster; `pytest --iqa-from-store` judges them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.experiment import add_run_arguments, experiment_of
from iqa_robustness.bench.runners.cluster import RUNNERS, Cluster, Share
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.runners.ray import RayRunner
from iqa_robustness.bench.runners.recipe import Recipe
from iqa_robustness.bench.watchdog import time_limit
from iqa_robustness.errors import CapabilityError, ConfigurationError, ExitCode
from iqa_robustness.gate.verdict import PRECEDENCE
from iqa_robustness.reporting.plan_command import add_selection_arguments, selected_cells
from iqa_robustness.reporting.spoken_time import spoken_time


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What became of the cells of a run.

    computed, found: now, or before.
    not_applicable: cells that turned out to have no meaning.
    errors: by cell, what stopped it.
    """

    computed: int
    found: int
    not_applicable: int
    errors: dict[str, Exception]

    @property
    def exit_code(self) -> ExitCode:
        """0 when nothing is missing; else the gravest error's, as of a pytest run."""
        codes = {getattr(error, "exit_code", ExitCode.MISSING) for error in self.errors.values()}
        if ExitCode.CONFIGURATION in codes:
            return ExitCode.CONFIGURATION
        return next((code for code in PRECEDENCE if code in codes), ExitCode.PASS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness run`."""
    add_selection_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--runner", "--iqa-runner", choices=RUNNERS, default="local", help="here, or on a cluster")
    parser.add_argument(
        "--iqa-ray-address", metavar="ADDRESS", default="", help="auto, host:port; none starts Ray here"
    )
    parser.add_argument("--iqa-ray-share", metavar="AMOUNTS", default="", help="of a cell: cpus=1,gpus=0.5,memory=8GiB")
    parser.add_argument("--iqa-cell-timeout", metavar="S", type=float, default=3600.0, help="seconds; 0 for no limit")


def run(options: argparse.Namespace) -> int:
    """Compute what the store lacks; returns the exit code."""
    if options.iqa_from_store:
        raise ConfigurationError("--iqa-from-store computes nothing", fix="use iqa-robustness plan, or pytest, with it")
    experiment = experiment_of(options) if options.runner == "local" else experiment_of(options, device="cpu")
    cells = selected_cells(options, experiment)
    began = time.monotonic()
    runner = experiment.runner
    if options.runner == "ray":
        recipe = Recipe(
            store=located(options.iqa_store),
            base=located(options.iqa_store_base) if options.iqa_store_base else None,
            device=options.iqa_device,
            micro_batch=options.iqa_micro_batch,
            strengths=experiment.runner.strengths.to_yaml(),
        )
        cluster = Cluster(address=options.iqa_ray_address, share=Share.parsed(options.iqa_ray_share))
        on_cluster = RayRunner(recipe, cluster)
        on_cluster.fill(cells, timeout=options.iqa_cell_timeout, report=_told)
        runner = on_cluster
    found = fill(cells, runner, timeout=options.iqa_cell_timeout)
    for name, error in found.errors.items():
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    print(
        f"{found.computed} cells computed, {found.found} found in {runner.store.url}, {len(found.errors)} missing, "
        f"{found.not_applicable} not applicable; {spoken_time(time.monotonic() - began)}"
    )
    return int(found.exit_code)


def fill(cells: Sequence[Cell], runner: LocalRunner, *, timeout: float) -> Filled:
    """The record of every cell from a runner, one after the other; an error does not stop the others."""
    errors: dict[str, Exception] = {}
    not_applicable = 0
    for cell in cells:
        try:
            with time_limit(timeout, cell=cell.name):
                runner.record(cell)
        except CapabilityError:
            not_applicable += 1
        except Exception as error:  # a metric's own may be anything
            errors[cell.name] = error
    found = len(cells) - len(errors) - not_applicable - runner.computed
    return Filled(computed=runner.computed, found=found, not_applicable=not_applicable, errors=errors)


def located(url: str) -> str:
    """A store's URL, a path made absolute: nodes have folders of their own to start from."""
    return url if "://" in url else str(Path(url).resolve())


def _told(cell: Cell, done: int, total: int) -> None:
    print(f"{done} of {total}: {cell.name}", file=sys.stderr, flush=True)
