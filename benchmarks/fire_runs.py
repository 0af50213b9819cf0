"""The part of store_under_fire.py that kills real pytest runs, their workers and their controllers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

# What a run imports is imported before it is forked: a round costs a run, not a start.
import iqa_robustness.bench.runners.local
import iqa_robustness.gate.verdict
import iqa_robustness.plugin
import iqa_robustness.reporting.run
import iqa_robustness.reporting.triptychs  # noqa: F401
from iqa_robustness.errors import CorruptEntryError, ExitCode
from iqa_robustness.store import Store

if TYPE_CHECKING:
    from store_under_fire import Tally

FILES = {
    "own.py": """
        from iqa_robustness.metrics.base import Metric, MetricSpec

        class Contrast(Metric):
            spec = MetricSpec(name="contrast", score_range=(0.0, 60.0))
            def forward(self, images):
                return 200 * (images[:, 0].var(dim=(1, 2), correction=0) + 1e-12).sqrt()
        """,
    "thresholds.yaml": "version: 1\ndefaults: {nonadaptive: {d_score: {max: 20}}}\n",
    "test_gate.py": """
        import pytest

        @pytest.mark.iqa_cells(scenario="nonadaptive", defense="none,flip,jpeg", attack="ifgsm")
        def test_gate(pair, cell, gate):
            gate.check(cell, pair)
        """,
    "pytest.ini": "[pytest]\npythonpath = .\niqa_metric = own:Contrast\niqa_dataset = folder:pictures\n",
}
CELLS = 9
STARTED = 120.0


def fire_at_runs(folder: Path, kills: int, tally: Tally, stream: random.Random) -> None:
    """Two runs at a time share a store; one is killed, or its controller and workers are."""
    project = written(folder / "project")
    began = time.monotonic()
    if ended(forked(project, "reference")) != ExitCode.PASS:
        tally.problems.append("an undisturbed run does not pass")
        return
    lasts = time.monotonic() - began
    expected = records(project, "reference")
    target, generation = tally.kills.total() + kills, 0
    while tally.kills.total() < target and not tally.problems:
        store = f"store-{generation}"
        while tally.kills.total() < target and len(records(project, store)) < CELLS and not tally.problems:
            if stream.random() < 0.25:
                kill_among_workers(project, store, tally, stream)
            else:
                kill_one_of_two(project, store, lasts, tally, stream)
            check_records(project, store, expected, tally)
        finish(project, store, expected, tally, stream)
        generation += 1


def written(project: Path) -> Path:
    """A repository with a metric, pictures, a gate and its thresholds."""
    (project / "pictures").mkdir(parents=True)
    for name, text in FILES.items():
        (project / name).write_text(textwrap.dedent(text).lstrip())
    random = np.random.RandomState(3)
    rows = ["file,mos"]
    for number in range(4):
        coarse = np.kron(random.randint(0, 256, (6, 8, 3)), np.ones((8, 8, 1)))
        pixels = 128 + (coarse - 128) * (4 - number) / 4
        Image.fromarray(pixels.astype(np.uint8)).save(project / "pictures" / f"{number}.png")
        rows.append(f"{number}.png,{4 - number}")
    (project / "pictures" / "mos.csv").write_text("\n".join(rows) + "\n")
    return project


def arguments(store: str, name: str) -> list[str]:
    """Of a run whose reports are its own."""
    return ["-p", "no:cacheprovider", "-q", f"--iqa-store={store}", f"--iqa-reports=reports-{name}"]


def forked(project: Path, store: str, *more: str, name: str = "run") -> int:
    """A pytest run in a copy of this process; its id. What it prints goes into `NAME.log`."""
    process = os.fork()
    if process:
        return process
    code = 3
    try:
        os.chdir(project)
        log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = int(pytest.main([*arguments(store, name), *more]))
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Its exit code; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_one_of_two(project: Path, store: str, lasts: float, tally: Tally, stream: random.Random) -> None:
    """Both work through the same cells; the other one must come through."""
    victim, other = forked(project, store, name="victim"), forked(project, store, name="other")
    time.sleep(stream.uniform(0.1, 1) * lasts)
    os.kill(victim, signal.SIGKILL)
    if ended(victim) == -signal.SIGKILL:
        tally.kills["pytest run"] += 1
    if stream.random() < 0.8:  # else it finishes the store, and the next generation begins
        os.kill(other, signal.SIGKILL)
        tally.kills["pytest run"] += ended(other) == -signal.SIGKILL
    elif ended(other) != ExitCode.PASS:
        tally.problems.append(f"the run beside a killed one failed:\n{(project / 'other.log').read_text()}")


def kill_among_workers(project: Path, store: str, tally: Tally, stream: random.Random) -> None:
    """A run with two workers: one of them is killed, or the controller, whose workers must end with it."""
    command = [sys.executable, "-m", "pytest", *arguments(store, "xdist"), "-n", "2"]
    with (project / "xdist.log").open("w") as log:
        controller = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
    deadline = time.monotonic() + STARTED
    before = len(records(project, store))
    # Workers import for a long time and compute for a short one: wait until they compute.
    while time.monotonic() < deadline and controller.poll() is None and entries(project, store) <= before:
        time.sleep(0.01)
    time.sleep(stream.uniform(0, 1))
    workers = children(controller.pid)
    if stream.random() < 0.5 and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stream.choice(workers), signal.SIGKILL)
            tally.kills["xdist worker"] += 1
        code = controller.wait()
        if code not in (ExitCode.PASS, ExitCode.INFRASTRUCTURE):
            tally.problems.append(f"a run that lost a worker ended with {code}:\n{(project / 'xdist.log').read_text()}")
        return
    controller.kill()
    if controller.wait() == -signal.SIGKILL:
        tally.kills["xdist controller"] += 1
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline and any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.05)
    if any(Path(f"/proc/{worker}").exists() for worker in workers):
        tally.problems.append("workers outlive their controller")


def children(process: int) -> list[int]:
    """Ids of the processes that a process started."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def entries(project: Path, store: str) -> int:
    """How many entries of any kind a store has."""
    return sum(1 for _ in (project / store).glob("v1/entries/*/*/manifest.json"))


def records(project: Path, store: str) -> dict[str, bytes]:
    """Record files by key."""
    return {path.parent.name: path.read_bytes() for path in (project / store).glob("v1/entries/*/*/record.parquet")}


def check_records(project: Path, store: str, expected: dict[str, bytes], tally: Tally) -> None:
    """What is there is what an undisturbed run makes, to the last bit."""
    for digest, data in records(project, store).items():
        if expected.get(digest) != data:
            tally.problems.append(f"a record of a killed run is not what it should be: {digest}")
    reader = Store(project / store, read_only=True)
    for digest in reader.digests():
        try:
            entry = reader.find(digest)
            if entry is not None:
                entry.verify()
        except CorruptEntryError as error:
            tally.problems.append(f"an entry of a killed run is damaged: {error.what}")


def flipped(project: Path, store: str, stream: random.Random) -> None:
    """A byte of a record is flipped."""
    from store_under_fire import flip

    flip(stream.choice(sorted((project / store).glob("v1/entries/*/*/record.parquet"))), stream)


def finish(project: Path, store: str, expected: dict[str, bytes], tally: Tally, stream: random.Random) -> None:
    """A last run that nobody disturbs repairs and says so; a judgement from the store agrees with the reference."""
    steps: Iterator[tuple[str, tuple[str, ...]]] = iter(
        (("complete", ()), ("repaired", ()), ("judged", ("--iqa-from-store",)))
    )
    for name, more in steps:
        if name == "repaired":
            flipped(project, store, stream)
            tally.flips["pytest"] += 1
        code = ended(forked(project, store, *more, name=name))
        log = (project / f"{name}.log").read_text()
        if code != ExitCode.PASS or (name == "repaired") != ("repaired: " in log):
            tally.problems.append(f"the {name} run ended with {code}:\n{log}")
            return
    table = pd.read_parquet(project / "reports-judged" / "results.parquet")
    if table.duplicated(["metric", "defense", "attack", "strength", "scenario", "goal", "source"]).any():
        tally.problems.append("results.parquet has duplicate rows")
    if records(project, store) != expected:
        tally.problems.append("the records of a killed and finished store are not those of an undisturbed run")
    tally.finished += len(expected)
    opened = Store(project / store)
    if [*opened.lock_folder.glob("*")] or [*opened.scratch_folder.glob("*")]:
        tally.problems.append("a run left a lock or a scratch folder behind")
