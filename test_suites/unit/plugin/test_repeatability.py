"""The same records, bit for bit, and the same verdicts, however the work is ordered, divided, or sent elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="clean", defense="none,random-noise")
def test_clean(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none,random-noise", attack="ifgsm,square", strength="weak")
def test_attacked(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="adaptive", defense="random-noise", attack="ifgsm", strength="weak")
def test_adaptive(pair, cell, gate):
    gate.check(cell, pair)

@pytest.mark.iqa_cells(scenario="certified", defense="ms", attack="ifgsm", strength="medium")
def test_certified(pair, cell, gate):
    gate.check(cell, pair)
"""
# The order of the items is another one at each seed; pytest has no such thing of its own.
SHUFFLE = """
import random

def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int)

def pytest_collection_modifyitems(config, items):
    if config.getoption("--shuffle") is not None:
        random.Random(config.getoption("--shuffle")).shuffle(items)
"""
SIZES = ("--iqa-images=3", "--iqa-max-queries=12")


@pytest.fixture
def several(project: Any) -> Any:
    project.write("test_gate.py", GATE)
    project.write("conftest.py", SHUFFLE)
    return project


def verdicts(project: Any, reports: str) -> dict[str, Any]:
    """By cell what was concluded, without where and when."""
    found = json.loads((project.path / reports / "verdict.json").read_text())
    return {cell["name"]: {k: v for k, v in cell.items() if k != "nodeid"} for cell in found["cells"]}


def records(project: Any, store: str) -> dict[str, str]:
    """SHA-256 of the record files by key."""
    return {key: hashlib.sha256(content).hexdigest() for key, content in project.records(store).items()}


def left(project: Any, name: str, *options: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Records and verdicts of a run in a store of its own."""
    project.run(f"--iqa-store={name}", f"--iqa-reports=of-{name}", *SIZES, *options)
    return records(project, name), verdicts(project, f"of-{name}")


@pytest.mark.parametrize(
    ("only", "cells"),
    [
        pytest.param("test_attacked and none", 2, id="two"),
        pytest.param("test_", 8, id="of-every-kind", marks=pytest.mark.slow),
    ],
)
def test_another_order_and_two_shards_change_nothing(only: str, cells: int, several: Any) -> None:
    kept, concluded = expected = left(several, "straight", "-k", only)
    assert len(kept) == len(concluded) == cells
    assert left(several, "shuffled", "-k", only, "--shuffle=1") == expected
    found = []
    for part in ("1/2", "2/2"):
        several.run("--iqa-store=parted", f"--iqa-shard={part}", "-k", only, *SIZES)
        found.append(len(several.records("parted")))
    assert found[1] == cells
    assert left(several, "parted", "-k", only, "--iqa-from-store") == expected


@pytest.mark.slow
def test_workers_change_nothing(several: Any) -> None:
    assert left(several, "spread", "-n", "2") == left(several, "alone")


@pytest.fixture
def scratch_of_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Ray writes goes where it is thrown away, under a path that is short enough for its sockets."""
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.usefixtures("scratch_of_ray")
def test_a_cluster_changes_nothing_and_says_what_it_did(several: Any) -> None:
    expected = left(several, "alone")
    result = several.run_alone("--iqa-store=far", "--iqa-reports=of-far", *SIZES, "--iqa-runner=ray")
    result.stdout.fnmatch_lines(
        ["*8 of 8 cells computed or found by the cluster*", "*8 computed in this run, 0 taken from the store*"]
    )
    assert (records(several, "far"), verdicts(several, "of-far")) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("scratch_of_ray")
def test_what_stops_a_cell_on_the_cluster_is_the_verdict_of_its_item(several: Any) -> None:
    several.write("pytest.ini", (several.path / "pytest.ini").read_text().replace("own:Contrast", "own:NaN"))
    chosen = ("--iqa-store=far", "-k", "test_attacked and none/ifgsm", *SIZES)
    local, far = several.run("--iqa-store=near", *chosen[1:]), several.run_alone(*chosen, "--iqa-runner=ray")
    assert far.ret == local.ret
    for result in (local, far):
        result.stdout.fnmatch_lines(["*NonFiniteScoreError*", "*metric=*attack=ifgsm*"])


def test_a_cluster_and_workers_are_not_combined(several: Any) -> None:
    result = several.run("--iqa-runner=ray", "-n", "1")
    assert result.ret == 4
    several.run("--iqa-runner=slurm").stderr.fnmatch_lines(["*unknown choice of --iqa-runner 'slurm'*"])
    result.stdout.fnmatch_lines(["*Ray's tasks are the workers*"])
