"""Read every byte of a store and compare it with its digest."""

from __future__ import annotations

import argparse

from iqa_robustness.errors import CorruptEntryError, ExitCode
from iqa_robustness.reporting.store_entries import spoken_size
from iqa_robustness.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store verify`."""
    parser.add_argument("store", nargs="?", metavar="STORE", default=".iqa-store", help="folder or fsspec URL")
    parser.add_argument(
        "--quarantine", action="store_true", help="move damaged entries aside, so that the next run computes them anew"
    )


def run(options: argparse.Namespace) -> int:
    """Name every damaged entry; exit code 13 where there is one."""
    store = Store(options.store, read_only=not options.quarantine)
    damaged, size, digests = [], 0, store.digests()
    for digest in digests:
        try:
            entry = store.find(digest)
            if entry is not None:
                entry.verify()
                size += entry.size
        except CorruptEntryError as error:
            damaged.append(digest)
            print(f"{digest}: {error.what}")
    print(f"{len(digests)} entries, {len(damaged)} damaged; {spoken_size(size)} are what they were when written")
    return int(ExitCode.INFRASTRUCTURE) if damaged else 0
