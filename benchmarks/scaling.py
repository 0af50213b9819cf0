"""How a run grows: two workers against one, and the collection of 20,000 items.

    python benchmarks/scaling.py collection [--items 20000]
    python benchmarks/scaling.py workers [--images 8] [--rounds 1]

*collection* registers made-up metrics until one suite has so many cells, and lets `pytest --collect-only` list them; at
most 10 s of processor time are wanted for 20,000. Further, what a run with workers adds to that: telling the controller
which cell each item is, and handing all items to eight workers.
*workers* computes the same cells into a fresh store with `-n 1` and `-n 2`, one after the other, and compares the time.

What judging a stored cell again takes is measured by rejudgement.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from iqa_robustness import attacks, defenses
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.profiles import profile
from iqa_robustness.plugin.announcement import packed, unpacked
from iqa_robustness.plugin.scheduler import CellScheduling

MOST = 10.0
DEFENSES, ATTACKS = 25, 20
REGISTERED = """
from iqa_robustness.metrics import MetricEntry, registry

for number in range({metrics}):
    registry.register(MetricEntry(name=f"made-up-{{number}}", target="iqa_robustness.metrics.compact:Compact"))
"""
GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)
"""
THRESHOLDS = "version: 1\ndefaults: {nonadaptive: {d_score: {max: 1000}}}\n"
GRID = {"metric": "compact", "defense": "none,jpeg", "attack": "ifgsm,mi-fgsm,pgd,apgd", "strength": "medium"}


class Worker:
    """Takes what it is sent."""

    shutting_down = False

    def __init__(self) -> None:
        self.queue: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        """Queue them."""
        self.queue += indices

    def shutdown(self) -> None:
        """Take no more."""
        self.shutting_down = True


def pytest_run(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Wall seconds, processor seconds and the last lines of a run in a process of its own."""
    # Compiled files are kept, as everywhere but on this project's own machines.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return time.perf_counter() - began, spent, done.stdout


def project(folder: Path, **files: str) -> Path:
    for name, text in {"test_gate.py": GATE, "thresholds.yaml": THRESHOLDS, "pytest.ini": "[pytest]\n"}.items():
        (folder / name).write_text(text)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def collection(options: argparse.Namespace) -> bool:
    pure = [entry.name for entry in defenses.registry if entry.kind in ("none", "purification")][:DEFENSES]
    listed = attacks.registry.names()[:ATTACKS]
    metrics = -(-options.items // (len(pure) * len(listed)))
    count = metrics * len(pure) * len(listed)
    chosen = ("--iqa-metric=made-up-*", f"--iqa-defense={','.join(pure)}", f"--iqa-attack={','.join(listed)}")
    with tempfile.TemporaryDirectory() as name:
        folder = project(Path(name), conftest=REGISTERED.format(metrics=metrics))
        one = ("--collect-only", *chosen, "--iqa-strength=medium", "--iqa-metric=made-up-0", "--iqa-defense=none")
        pytest_run(folder, *one)  # compiles
        bare = pytest_run(folder, *one)[1]
        wall, spent, output = pytest_run(folder, "--collect-only", *chosen, "--iqa-strength=medium")
    if f"{count} tests collected" not in output:
        raise SystemExit(output[-500:])
    print(
        f"collected {count} items: {spent:.2f} s of processor time, {wall:.2f} s; of {len(listed)} items {bare:.2f} s"
    )
    usual = profile("smoke")
    template = Cell(
        metric="", defense="", scenario="nonadaptive", dataset="mini", images=8, size=usual.size, queries=200,
        draws=1, n0=1, n=1, strength="medium",
    )  # fmt: skip
    cells = [
        replace(template, metric=f"made-up-{number}", defense=defense, attack=attack)
        for number in range(metrics)
        for defense in pure
        for attack in listed
    ]
    began = time.process_time()
    text = packed([cell.name for cell in cells], cells)
    told = time.process_time() - began
    items = unpacked(text)
    heard = time.process_time() - began - told
    print(f"announced: {told:.2f} s in a worker, {heard:.2f} s on the controller, {len(text) / 2**20:.1f} MiB")
    print(f"handed out to 8 workers: {handed_out([item.group for item in items if item]):.2f} s on the controller")
    return spent <= MOST * count / 20_000


def handed_out(groups: list[int]) -> float:
    """Processor seconds of the scheduler alone; every worker runs what it has in turn."""
    units: dict[int, list[tuple[int, float]]] = {}
    for number, group in enumerate(groups):
        units.setdefault(group, []).append((number, 1.0 + number % 7))
    names = [f"t[{number}]" for number in range(len(groups))]
    scheduling = CellScheduling(8, lambda _: [*units.values()], lambda *_: None)
    workers = [Worker() for _ in range(8)]
    began = time.process_time()
    for worker in workers:
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, names)
    scheduling.schedule()
    ran = 0
    while scheduling.has_pending:
        for worker in workers:
            if worker.queue:
                item = worker.queue.pop(0)
                scheduling.started(names[item])
                scheduling.finished(names[item])
                scheduling.mark_test_complete(worker, item)
                ran += 1
    if ran != len(groups):
        raise SystemExit(f"{ran} of {len(groups)} items were run")
    return time.process_time() - began


def workers(options: argparse.Namespace) -> bool:
    grid = [f"--iqa-{axis}={names}" for axis, names in GRID.items()]
    ratios = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = project(Path(name))
            found = {}
            for count in (1, 2):
                own = (f"--iqa-store=store{count}", f"--iqa-images={options.images}", "-n", str(count))
                wall, spent, output = pytest_run(folder, *grid, *own)
                found[count] = wall
                print(f"-n {count}: {wall:.1f} s, {spent:.1f} s of processor time; {output.strip().splitlines()[-1]}")
            stores = [
                {path.parent.name: path.read_bytes() for path in (folder / f"store{count}").rglob("record.parquet")}
                for count in (1, 2)
            ]
            if stores[0] != stores[1] or not stores[0]:
                raise SystemExit("one worker and two have computed different records")
            ratios.append(found[1] / found[2])
    print(f"speed-up of two workers, records equal bit for bit: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("collection")
    command.add_argument("--items", type=int, default=20_000)
    command.set_defaults(run=collection)
    command = commands.add_parser("workers")
    command.add_argument("--images", type=int, default=8)
    command.add_argument("--rounds", type=int, default=1)
    command.set_defaults(run=workers)
    options = parser.parse_args()
    return 0 if options.run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
