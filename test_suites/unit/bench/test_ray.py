"""The Ray runner on two nodes: records as of the local runner, errors as themselves, nodes that are lost."""

from __future__ import annotations

import shutil
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
    CellTimeoutError,
    ClusterError,
    ConfigurationError,
    ExitCode,
    MissingCellError,
    NonFiniteScoreError,
    ProgramCrashError,
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
    """Two nodes of one CPU, processes of this machine, and a connection for all tests; Ray's files are thrown away."""
    patch = pytest.MonkeyPatch()
    # No token is made in the home directory; paths of sockets are short.
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    import ray
    from ray.cluster_utils import Cluster as Nodes

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "temp_dir": folder}
    nodes = Nodes(initialize_head=True, head_node_args=small)
    nodes.small = small
    nodes.add_node(**small)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    (tmp_path / "far.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Recipe(store=str(tmp_path / "store"), device="cpu", micro_batch=2)


@pytest.fixture
def runner(cluster: Any, recipe: Recipe) -> RayRunner:
    return RayRunner(recipe, Cluster(address=cluster.address))


def files(store: Store) -> dict[str, dict[str, str]]:
    """By entry the name and SHA-256 of every file."""
    entries = {digest: store.find(digest) for digest in store.digests()}
    return {
        digest: {name: facts["sha256"] for name, facts in entry.manifest["files"].items()}
        for digest, entry in entries.items()
        if entry is not None
    }


# --- records --------------------------------------------------------------------------------------------------------


def test_the_store_is_that_of_the_local_runner_byte_for_byte(runner: RayRunner, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = runner.fill(CELLS, report=lambda _, count, total: told.append((count, total)))
    assert all(each.error is None and each.computed for each in done.values())
    assert told == [(number, len(CELLS)) for number in range(1, len(CELLS) + 1)]
    local = LocalRunner(Store(tmp_path / "local"), Numerics(device="cpu", micro_batch=2))
    for each in CELLS:
        assert runner.record(each).meta == local.record(each).meta
    assert runner.computed == len(CELLS)
    assert files(runner.store) == files(local.store)
    for each in (CELLS[1], CELLS[4]):
        record, pair = local.record(each), local.pair(each)
        for one, other in zip(
            local.attacked_pixels(each, pair, record), runner.attacked_pixels(each, pair, record), strict=True
        ):
            assert (one == other).all()
    assert not any(each.computed for each in runner.fill(CELLS).values())


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_come_back_as_themselves_and_stop_no_other_cell(runner: RayRunner) -> None:
    cells = {name: cell(metric=f"far:{name}") for name in ("NaN", "Raising")}
    cells |= {"silent program": cell(metric="exec:true"), "fine": cell()}
    runner.fill([*cells.values()])
    with pytest.raises(NonFiniteScoreError) as nan:
        runner.record(cells["NaN"])
    assert (nan.value.where.attack, nan.value.exit_code) == ("ifgsm", ExitCode.MISSING)
    with pytest.raises(Exception, match="Odd: this and that") as raising:
        runner.record(cells["Raising"])
    assert any("far.py" in note for note in raising.value.__notes__)
    assert any("metric=far:Raising" in note for note in raising.value.__notes__)
    with pytest.raises(ProgramCrashError):
        runner.record(cells["silent program"])
    assert runner.record(cells["fine"]).meta["cell"]["metric"] == f"{PLANTED}Robust"


@pytest.mark.slow
def test_a_cell_that_ends_its_process_is_lost_and_never_handed_on(runner: RayRunner, tmp_path: Path) -> None:
    cells = [cell(metric="far:Crashing", defense=defense) for defense in ("none", "flip", "jpeg")]
    runner.fill([*cells, cell()])
    for each in cells:
        with pytest.raises(ClusterError, match="its process ended without a word") as crashed:
            runner.record(each)
        assert (crashed.value.where.metric, crashed.value.exit_code) == ("far:Crashing", ExitCode.INFRASTRUCTURE)
    # The three share clean scores and an attack, which were begun once each; no cell was sent after them.
    assert (tmp_path / "crashes").read_text() == "xx"
    assert runner.record(cell()).meta["cell"]["metric"] == f"{PLANTED}Robust"


def test_a_cell_that_hangs_is_stopped_on_its_node(runner: RayRunner) -> None:
    sleeping = cell(metric="far:Sleeping")
    runner.fill([sleeping], timeout=1.5)
    with pytest.raises(CellTimeoutError, match=r"ran longer than 1\.5 s"):
        runner.record(sleeping)


def test_what_no_node_has_is_refused_at_once(cluster: Any, recipe: Recipe) -> None:
    for share, named in ((Share(gpus=1), "num_gpus"), (Share(cpus=64), "64")):
        with pytest.raises(ConfigurationError, match=named) as refused:
            RayRunner(recipe, Cluster(address=cluster.address, share=share)).fill([cell()])
        assert "--iqa-ray-share" in refused.value.fix


def test_cuda_is_asked_for_as_a_gpu_of_a_node(cluster: Any, recipe: Recipe) -> None:
    with pytest.raises(ConfigurationError, match="'num_gpus': 1"):
        RayRunner(replace(recipe, device="cuda"), Cluster(address=cluster.address)).fill([cell()])
    with pytest.raises(ConfigurationError, match="numbers of GPUs are Ray's to choose"):
        RayRunner(replace(recipe, device="cuda:1"), Cluster(address=cluster.address))


def test_a_record_in_another_store_than_this_one_is_named(runner: RayRunner) -> None:
    runner.finish(cell(), Done(digest="0" * 64, computed=True))
    with pytest.raises(StoreError, match="into a store that is not") as elsewhere:
        runner.record(cell())
    assert "s3://" in elsewhere.value.fix


def test_a_cell_that_nobody_asked_the_cluster_for_is_read_or_missing(runner: RayRunner) -> None:
    with pytest.raises(MissingCellError):
        runner.record(cell())


# --- nodes that are lost --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("retries", [3, 0])
def test_a_node_that_is_killed_costs_its_cells_a_new_start_or_exit_13(
    retries: int, cluster: Any, recipe: Recipe, tmp_path: Path
) -> None:
    import ray

    victim = next(iter(cluster.worker_nodes))
    running = RayRunner(recipe, Cluster(address=cluster.address, retries=retries))
    # No stage is shared, so that both nodes have a cell.
    cells = [cell(metric="far:Waiting"), cell(metric="far:Waiting", strength="weak", seed=1, images=1)]
    filling = threading.Thread(target=running.fill, args=(cells,))
    filling.start()
    mark = tmp_path / f"on-{victim.node_id}"
    patience = time.monotonic() + 120
    while not mark.exists():
        assert time.monotonic() < patience
        time.sleep(0.1)
    cluster.remove_node(victim, allow_graceful=False)
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        assert time.monotonic() < patience
        time.sleep(0.1)
    (tmp_path / "go").touch()
    filling.join(timeout=120)
    cluster.add_node(**cluster.small)
    assert not filling.is_alive()
    local = LocalRunner(Store(tmp_path / "local"), Numerics(device="cpu", micro_batch=2))
    fates = running.fates
    for each in cells:
        if fates[each.name].error is None:
            assert running.record(each).files() == local.record(each).files()
    errors = [fate.error for fate in fates.values() if fate.error is not None]
    assert [(type(error), "its node was lost" in str(error)) for error in errors] == [(ClusterError, True)] * (
        not retries
    )
