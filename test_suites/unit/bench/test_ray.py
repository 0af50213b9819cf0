"""The Ray runner on a cluster of two nodes: records as of the local runner, errors as themselves, nodes that are lost."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.cluster import Cluster, Share
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.runners.ray import Done, RayRunner
from iqa_robustness.bench.runners.recipe import Recipe
from iqa_robustness.errors import (
    CapabilityError,
    CellTimeoutError,
    ClusterError,
    ConfigurationError,
    ExitCode,
    NonFiniteScoreError,
    StoreError,
)
from iqa_robustness.store import Store

pytest.importorskip("ray")
PLANTED = "iqa_robustness.metrics.planted:"
METRICS = '''
import os, time
import torch
from pathlib import Path
from iqa_robustness.metrics.planted import Robust

class NaN(Robust):
    def forward(self, images):
        return super().forward(images) * (float("nan") if images.shape[-1] == 64 else 1.0)

class Odd(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")

class Raising(Robust):
    def forward(self, images):
        if images.shape[-1] == 64:
            raise Odd("this", "that")
        return super().forward(images)

class Crashing(Robust):
    def forward(self, images):
        if images.shape[-1] == 64:
            with open("crashes", "a") as file:
                file.write("x")
            os._exit(7)
        return super().forward(images)

class Sleeping(Robust):
    def forward(self, images):
        while images.shape[-1] == 64:
            time.sleep(0.05)
        return super().forward(images)

class Waiting(Robust):
    """Tells which node it is on, and waits there until it may go on."""
    def forward(self, images):
        if images.shape[-1] == 64 and not Path("go").exists():
            import ray
            Path("on-" + ray.get_runtime_context().get_node_id()).touch()
            while not Path("go").exists():
                time.sleep(0.02)
        return super().forward(images)
'''


def cell(**change: Any) -> Cell:
    known: dict[str, Any] = {
        "metric": f"{PLANTED}Robust",
        "defense": "none",
        "attack": "ifgsm",
        "strength": "medium",
        "scenario": "nonadaptive",
        "dataset": "mini",
        "images": 2,
        "size": (48, 64),
        "queries": 12,
        "draws": 2,
        "n0": 5,
        "n": 20,
    }
    if change.get("scenario") == "clean":
        change = {"attack": "", "strength": "", **change}
    return Cell(**{**known, **change})


CELLS = [
    cell(scenario="clean"),
    cell(),
    cell(defense="flip"),
    cell(defense="random-noise"),
    cell(defense="flip", scenario="adaptive", query_images=1),
    cell(defense="ms", scenario="certified", images=1),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU, in processes of this machine; what Ray writes is thrown away."""
    patch = pytest.MonkeyPatch()
    # No token is made in the home directory; paths of sockets are short.
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    from ray.cluster_utils import Cluster as Nodes

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "temp_dir": folder}
    checks = {"initial_delay_ms": 500, "period_ms": 500, "timeout_ms": 500, "failure_threshold": 4}
    head = {**small, "_system_config": {f"health_check_{name}": value for name, value in checks.items()}}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    nodes.small = small
    nodes.add_node(**small)
    yield nodes
    nodes.shutdown()
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def runner(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayRunner:
    (tmp_path / "far.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(store=str(tmp_path / "store"), device="cpu", micro_batch=2)
    return RayRunner(recipe, Cluster(address=cluster.address))


def files(store: Store) -> dict[str, dict[str, bytes]]:
    return {digest: store.find(digest).files() for digest in store.digests()}  # type: ignore[union-attr]


def test_the_store_is_that_of_the_local_runner_byte_for_byte(runner: RayRunner, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = runner.fill(CELLS, report=lambda _, count, total: told.append((count, total)))
    assert all(each.error is None and each.computed for each in done.values())
    assert told == [(number, len(CELLS)) for number in range(1, len(CELLS) + 1)]
    local = LocalRunner(Store(tmp_path / "local"), Numerics(device="cpu", micro_batch=2))
    for each in CELLS:
        expected = local.record(each)
        found = runner.record(each)
        assert found.files() == expected.files()
    assert runner.computed == len(CELLS)
    assert files(runner.store) == files(local.store)
    pair = runner.pair(CELLS[4])
    for each in (CELLS[1], CELLS[4]):
        pixels = [local.attacked_pixels(each, pair, local.record(each)), runner.attacked_pixels(each, pair, runner.record(each))]
        assert all((one == other).all() for one, other in zip(*pixels, strict=True))
    again = runner.fill(CELLS)
    assert not any(each.computed for each in again.values())


def test_errors_come_back_as_themselves_with_their_cell(runner: RayRunner, tmp_path: Path) -> None:
    cells = {
        name: cell(metric=f"far:{name}") for name in ("NaN", "Raising", "Crashing")
    } | {
        "Crashing, defended": cell(metric="far:Crashing", defense="flip"),
        "queries only": cell(metric="exec:true", attack="ifgsm"),
        "fine": cell(),
    }
    runner.fill([*cells.values()])
    with pytest.raises(NonFiniteScoreError) as nan:
        runner.record(cells["NaN"])
    assert (nan.value.where.metric, nan.value.where.attack) == ("far:NaN", "ifgsm")
    assert nan.value.exit_code == ExitCode.MISSING
    with pytest.raises(Exception, match="Odd: this and that") as raising:
        runner.record(cells["Raising"])
    assert any("far.py" in note for note in raising.value.__notes__)
    for name in ("Crashing", "Crashing, defended"):
        with pytest.raises(ClusterError) as crashed:
            runner.record(cells[name])
        assert crashed.value.exit_code == ExitCode.INFRASTRUCTURE
        assert crashed.value.where.metric == "far:Crashing"
    assert runner.record(cells["fine"]).meta["cell"]["metric"] == f"{PLANTED}Robust"
