"""Computes cells on a Ray cluster; what they leave is in the store, and everything else reads it there."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.runners.cluster import Cluster, lost
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.runners.parts import WHOLE, Part, parts_of, ready
from iqa_robustness.bench.runners.recipe import Recipe
from iqa_robustness.bench.sources import stored_pixels
from iqa_robustness.bench.watchdog import time_limit
from iqa_robustness.errors import ClusterError, ConfigurationError, IqaRobustnessError, StoreError, Where
from iqa_robustness.store import Entry, Record

Report = Callable[[Cell, int, int], None]
"""Told of a cell that is done, of how many are, and of how many there are."""
# Ray is told of so many tasks for each that can run: it finds the next one at once, and the order stays ours.
_AHEAD = 2
# Seconds between two looks at the nodes, and those for which no node may be able to take a cell.
_LOOK = 5.0
_PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a task brings back.

    digest: of the record's key; empty of a stage, and of a failure.
    computed: in this run, not found in the store.
    seconds: it took.
    error: what stopped it.
    """

    digest: str = ""
    computed: bool = False
    seconds: float = 0.0
    error: Exception | None = None


class RayRunner(LocalRunner):
    """Hands cells to a cluster (`fill`), and gives out what came of them.

    In this process nothing is computed: metrics need not fit into it, nor does it need the cluster's device.
    `fates` holds, by name, what became of every cell that was handed on.

    Args:
        recipe: of the runners on the nodes.
        cluster: where they are.
    """

    def __init__(self, recipe: Recipe, cluster: Cluster) -> None:
        # Whatever is looked at here is looked at on the CPU, also under `cuda`.
        here = replace(recipe, device="cpu").runner()
        super().__init__(
            here.store, here.stages.numerics, from_store=True, ranges=here.ranges, strengths=here.strengths
        )
        if recipe.device.startswith("cuda:"):
            raise ConfigurationError(
                f"--iqa-device {recipe.device}: the numbers of GPUs are Ray's to choose", fix="use --iqa-device cuda"
            )
        self.recipe = recipe
        self.cluster = cluster
        self.fates: dict[str, Done] = {}

    def fill(self, cells: Sequence[Cell], *, timeout: float = 0.0, report: Report = lambda *_: None) -> dict[str, Done]:
        """Compute cells, each once, and what they share before them; by the cell's name what became of it.

        An error of a cell does not stop the others. Where the cluster itself fails, the cells that are left have that
        as their error.

        Args:
            cells: in the order in which equally long ones begin.
            timeout: seconds for a cell, 0 for no limit.
            report: told of every cell that is done, and how many of all are.

        Raises:
            ConfigurationError: Ray is not installed, or no node can ever take a cell.
        """
        try:
            with self.cluster.connected() as ray:
                _Filling(runner=self, ray=ray, parts=parts_of(cells), timeout=timeout, report=report).run()
        except ClusterError as error:
            for cell in cells:
                self.fates.setdefault(cell.name, Done(error=error))
        return {cell.name: self.fates[cell.name] for cell in cells}

    def entry(self, cell: Cell, pair: Pair | None = None) -> Entry:
        """The entry of a cell that `fill` was asked for; of others what the store has.

        Raises:
            IqaRobustnessError: what stopped the cell on its node, as it was raised there; ClusterError (exit 13) when
                the node or the process was lost.
            StoreError: the node wrote it into a store that is not this one.
        """
        done = self.fates.get(cell.name)
        if done is None:
            return super().entry(cell, pair)
        if done.error is not None:
            raise done.error
        entry = self._entry(done.digest)
        self.computed += done.computed
        return entry

    def attacked_pixels(self, cell: Cell, pair: Pair, record: Record) -> list[np.ndarray]:
        """As of `LocalRunner`; found by what the record says, since keys hold the nodes' device and not this one's."""
        del pair  # not loaded for it
        if cell.scenario != "adaptive":
            return stored_pixels(self._entry(record.meta["attack"]["entry"]))
        sources = record.meta["sources"]
        pixels = {
            search.name: dict(
                zip(search.clean.ids, stored_pixels(self._entry(sources[search.name]["entry"])), strict=True)
            )
            for search in self.searches(cell)
        }
        ids, names = (record.images[column].tolist() for column in ("id", "worst_source"))
        return [pixels[name][image] for image, name in zip(ids, names, strict=True)]

    def finish(self, cell: Cell, done: Done) -> None:
        """Take in what became of a cell."""
        self.fates[cell.name] = done

    def _entry(self, digest: str) -> Entry:
        entry = self.store.find(digest)
        if entry is None:
            raise StoreError(
                f"a node has written {digest[:12]}… into a store that is not {self.store.url} here",
                fix="give --iqa-store a place that all nodes share: a network folder, or s3://…",
            )
        return entry


@dataclass(kw_only=True)
class _Filling:
    """One run of parts on a connected cluster.

    losses: by the place of a part, how often its node was lost.
    """

    runner: RayRunner
    ray: Any
    parts: list[Part]
    timeout: float
    report: Report
    done: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    running: dict[Any, int] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)

    def run(self) -> None:
        """To the last part. Raises ConfigurationError, ClusterError."""
        device = self.runner.recipe.device
        if device == "auto":
            device = "cuda" if self.ray.cluster_resources().get("GPU") else "cpu"
        self.on_gpu = device.startswith("cuda")
        self.recipe = replace(self.runner.recipe, device=device)
        share = self.runner.cluster.share.options(on_gpu=self.on_gpu)
        # A process with a GPU ends with its task (Ray's rule), one without keeps its metrics for the next cell.
        self.task = self.ray.remote(max_retries=0, **share)(_work)
        slots = self._slots()
        if not slots:
            raise ConfigurationError(
                f"no node of the cluster has what a cell takes: {share}",
                fix="lower --iqa-ray-share, or start a node that has it",
            )
        idle = time.monotonic()
        try:
            while len(self.done) < len(self.parts):
                self._submit(_AHEAD * max(slots, 1))
                finished, _ = self.ray.wait([*self.running], num_returns=1, timeout=_LOOK)
                for reference in finished:
                    self._take(reference, self.running.pop(reference))
                slots = self._slots() if not finished else slots
                idle = time.monotonic() if finished or slots else idle
                if time.monotonic() - idle > _PATIENCE:
                    raise ClusterError(
                        f"for {_PATIENCE:.0f} s no node of the cluster could take a cell; {self._left()} are left",
                        fix="start nodes and run again: what is in the store is not computed anew",
                    )
        except self.ray.exceptions.RayError as error:
            raise lost(self.ray, error, "the cluster") from error
        finally:
            for reference in self.running:
                self.ray.cancel(reference)

    def _slots(self) -> int:
        return self.runner.cluster.slots(self.ray, on_gpu=self.on_gpu)

    def _left(self) -> int:
        return sum(part.kind == WHOLE for n, part in enumerate(self.parts) if n not in self.done)

    def _submit(self, most: int) -> None:
        free = most - len(self.running)
        for number in ready(self.parts, self.done, self.begun)[:free] if free > 0 else []:
            self.begun.add(number)
            self.running[self.task.remote(self.recipe, self.parts[number], self.timeout)] = number

    def _take(self, reference: Any, number: int) -> None:
        part = self.parts[number]
        try:
            done: Done = self.ray.get(reference)
        except self.ray.exceptions.NodeDiedError as error:
            self.losses[number] = self.losses.get(number, 0) + 1
            if self.losses[number] <= self.runner.cluster.retries:
                self.begun.discard(number)
                return
            done = Done(error=_placed(lost(self.ray, error, f"cell {part.cell.name}"), part.cell))
        except self.ray.exceptions.RayError as error:
            done = Done(error=_placed(lost(self.ray, error, f"cell {part.cell.name}"), part.cell))
        self.done.add(number)
        if part.kind == WHOLE:
            self._finish(part.cell, done)
        elif isinstance(done.error, ClusterError):
            # The stage's process was lost with its metric in it: no cell that needs it is sent after it.
            self._abandon(number, done)

    def _abandon(self, number: int, done: Done) -> None:
        for user, part in enumerate(self.parts):
            if number in part.needs and user not in self.done:
                self.done.add(user)
                self.begun.add(user)
                error = ClusterError(f"cell {part.cell.name}: a stage that it shares was lost: {done.error}")
                self._finish(part.cell, Done(error=_placed(error, part.cell)))

    def _finish(self, cell: Cell, done: Done) -> None:
        self.runner.finish(cell, done)
        cells = sum(part.kind == WHOLE for part in self.parts)
        self.report(cell, cells - self._left(), cells)


def _placed(error: ClusterError, cell: Cell) -> ClusterError:
    return error.at(metric=cell.metric, defense=cell.defense, attack=cell.attack, scenario=cell.scenario)


@cache
def _runner(recipe: Recipe) -> LocalRunner:
    """One for each process of a node, with the metrics that it has loaded."""
    return recipe.runner()


def _work(recipe: Recipe, part: Part, timeout: float) -> Done:
    """On a node: a part, and whatever stopped it as a value, so that it arrives as what it is."""
    began = time.time()
    try:
        runner = _runner(recipe)
        if part.kind != WHOLE and recipe.until is not None and time.time() >= recipe.until:
            return Done()
        before = runner.computed
        with time_limit(timeout, cell=part.cell.name):
            digest = part.do(runner)
        return Done(digest=digest, computed=runner.computed > before, seconds=time.time() - began)
    except Exception as error:
        return Done(error=_sendable(error, part.cell), seconds=time.time() - began)


def _sendable(error: Exception, cell: Cell) -> Exception:
    """The error itself where it survives the way; a metric's own may be of a class that only its node knows."""
    # Notes travel with an exception, its stack does not.
    if not isinstance(error, IqaRobustnessError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        if type(copy.deepcopy(error)) is type(error):  # what a process sends is put together in the same way
            return error
    except Exception:  # whatever a class of somebody else's does when it is taken apart
        pass
    where = Where(metric=cell.metric, defense=cell.defense, attack=cell.attack, scenario=cell.scenario)
    told = IqaRobustnessError(f"{type(error).__name__}: {error}", where=where)
    told.__notes__ = getattr(error, "__notes__", [])
    return told
