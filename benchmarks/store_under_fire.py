"""Kills, flipped bytes, and what the store makes of them: nothing lost, nothing wrong, nothing left behind.

    python benchmarks/store_under_fire.py [--kills 1000] [--runs 30] [--seed 0]

Most kills hit pairs of processes that work through the same made-up cells in one folder: one of the two (*worker*),
both at once (*controller*), or one as soon as it is seen writing (*write*). `--runs` of the kills hit real pytest runs,
two at a time on one store; a quarter of those rounds are runs with xdist, where a worker or the controller is hit. Now
and then a bit of a finished entry is flipped; whoever reads it must find it.

Checked all along: what a process said to be finished is there and is what it should be; no cell is computed twice but
where a byte was flipped; every flipped byte was found and set aside. At the end: no lock, no scratch folder, records
equal to those of a run that nobody disturbed, one row a cell and image. Exit code 1 when anything is otherwise.
POSIX only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from iqa_robustness.errors import CorruptEntryError
from iqa_robustness.store import Key, Store

CELLS = 12
PATIENCE = 60.0


@dataclass
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    mid_write: int = 0
    flips: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    problems: list[str] = field(default_factory=list)


def files_of(key: Key) -> dict[str, bytes]:
    """What computing a made-up cell gives, always the same."""
    return _files(key.digest)


@lru_cache(maxsize=CELLS)
def _files(digest: str) -> dict[str, bytes]:
    stream = random.Random(digest)
    return {name: stream.randbytes(stream.randint(2_000, 40_000)) for name in ("record.parquet", "images.tar", "b")}


def work(url: str, keys: list[Key], say: Callable[[str, Key], None]) -> None:
    """What a worker does with its cells: take each from the store, or compute it; what is damaged again."""
    store = Store(url)
    for key in keys:
        while True:
            try:
                entry = store.get(key)
                if entry is None:
                    with store.lock(key):
                        entry = store.get(key)
                        if entry is None:
                            entry = store.put(key, files_of(key))
                            say("computed", key)
                entry.verify()
            except CorruptEntryError:
                continue
            say("finished", key)
            break


def started(target: Callable[[], None]) -> int:
    """A process that does this and ends; its id."""
    process = os.fork()
    if process:
        return process
    try:
        target()
        os._exit(0)
    except BaseException as error:
        print(f"a worker failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def sayer(ledger: Path) -> Callable[[str, Key], None]:
    """Writes a line that stands once it is said, even if the process is killed then."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return lambda what, key: (os.write(file, f"{what} {key.digest}\n".encode()), None)[1]


def said(ledger: Path) -> dict[str, Counter[str]]:
    """How often what was said of which cell."""
    found: dict[str, Counter[str]] = {"computed": Counter(), "finished": Counter()}
    if ledger.exists():
        for line in ledger.read_text().splitlines():
            what, digest = line.split()
            found[what][digest] += 1
    return found


def flip_and_find(url: str, key: Key, ledger: Path, tally: Tally, stream: random.Random) -> None:
    """Damage an entry; a process that wants it finds that out at once: two flips would be one finding."""
    name = stream.choice(("record.parquet", "images.tar", "b", "manifest.json"))
    flip(Path(Store(url, read_only=True).path_of(key.digest), name), stream)
    tally.flips[key.digest] += 1
    awaited(started(lambda: work(url, [key], sayer(ledger))), tally)


def flip(path: Path, stream: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    place = stream.randrange(len(data))
    data[place] ^= 1 << stream.randrange(8)
    path.write_bytes(bytes(data))


def fire_round(url: str, keys: list[Key], ledger: Path, tally: Tally, stream: random.Random) -> None:
    """Two workers on the same cells; one or both are killed."""
    orders = [stream.sample(keys, len(keys)) for _ in range(2)]
    say = sayer(ledger)
    processes = [started(lambda order=order: work(url, order, say)) for order in orders]
    kind = stream.choice(("worker", "controller", "write"))
    scratch = Path(Store(url, read_only=True).scratch_folder)
    if kind == "write":
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and not any(
            path.name.split("-")[-2] == str(processes[0]) for path in scratch.glob("*")
        ):
            time.sleep(0.0002)
        time.sleep(stream.uniform(0, 0.001))
    else:
        time.sleep(stream.uniform(0.005, 0.08))
    victims = processes if kind == "controller" else processes[:1]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    statuses = [awaited(process, tally) for process in processes]
    for process, status in zip(processes, statuses, strict=True):
        if process in victims and os.WIFSIGNALED(status):
            tally.kills[kind] += 1
            tally.mid_write += any(path.name.split("-")[-2] == str(process) for path in scratch.glob("*"))
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status):
            tally.problems.append("a worker that nobody killed failed")


def awaited(process: int, tally: Tally) -> int:
    """The process' status; one that waits for ever has met a dead lock."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    tally.problems.append("a worker hangs")
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def check(url: str, ledger: Path, keys: list[Key], tally: Tally) -> None:
    """What was said to be finished is there, and what it should be; nothing was computed twice."""
    store = Store(url, read_only=True)
    lines = said(ledger)
    for key in keys:
        if key.digest not in lines["finished"]:
            continue
        try:
            entry = store.get(key)
            if entry is None:
                tally.problems.append(f"a finished cell is lost: {key.digest}")
            elif entry.files() != files_of(key):
                tally.problems.append(f"a cell is not what it should be: {key.digest}")
        except CorruptEntryError as error:
            tally.problems.append(f"a finished cell is damaged: {error.what}")
    for digest, count in lines["computed"].items():
        if count > 1 + tally.flips[digest]:
            tally.problems.append(f"a cell was computed {count} times: {digest}")


def fire_at_workers(folder: Path, kills: int, tally: Tally, stream: random.Random) -> None:
    """Rounds of kills, in generations of cells."""
    url, generation = str(folder / "store"), 0
    while tally.kills.total() < kills and not tally.problems:
        keys = [Key({"stage": "cell", "number": number, "generation": generation}) for number in range(CELLS)]
        ledger = folder / f"ledger-{generation}"
        for key in keys:
            files_of(key)  # once, before processes are forked
        while tally.kills.total() < kills and len(said(ledger)["finished"]) < CELLS and not tally.problems:
            fire_round(url, keys, ledger, tally, stream)
            done = [key for key in keys if key.digest in said(ledger)["finished"]]
            if done and stream.random() < 0.3:
                flip_and_find(url, stream.choice(done), ledger, tally, stream)
            if stream.random() < 0.3:
                check(url, ledger, keys, tally)
        # Nobody disturbs the last ones: they finish what is left, and meet no lock of the dead.
        awaited(started(lambda ledger=ledger, keys=keys: work(url, keys, sayer(ledger))), tally)
        check(url, ledger, keys, tally)
        tally.finished += len(said(ledger)["finished"])
        generation += 1
    check_left_behind(Store(url), tally)


def check_left_behind(store: Store, tally: Tally) -> None:
    """No lock, no scratch folder, and in quarantine exactly what was flipped."""
    for folder in (store.lock_folder, store.scratch_folder):
        left = [*folder.glob("*")]
        if left:
            tally.problems.append(f"{len(left)} left in {folder.name}: {left[0].name}")
    found = Counter(path.name.rpartition("-")[0] for path in Path(store.quarantine).glob("*"))
    if found != tally.flips:
        tally.problems.append(f"{tally.flips.total()} bytes were flipped, {found.total()} damaged entries found")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="in all [1000]")
    parser.add_argument("--runs", type=int, default=30, help="kills of real pytest runs among them [30]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    stream, tally, began = random.Random(options.seed), Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fire_at_workers(Path(folder), options.kills - options.runs, tally, stream)
        if options.runs and not tally.problems:
            from fire_runs import fire_at_runs  # with torch: a process without it is forked in a tenth of the time

            fire_at_runs(Path(folder), options.runs, tally, stream)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kills.items()))
    print(f"{tally.kills.total()} kills ({kinds}), {tally.mid_write} of them in the middle of a write")
    print(f"{tally.flips.total()} bytes flipped, {tally.finished} cells finished, {time.monotonic() - began:.0f} s")
    for problem in tally.problems:
        print(f"PROBLEM: {problem}")
    print("nothing lost, nothing wrong, nothing left behind" if not tally.problems else "FAILED")
    return int(bool(tally.problems))


if __name__ == "__main__":
    sys.exit(main())
