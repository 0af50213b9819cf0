"""Copy the entries of one or several stores into another."""

from __future__ import annotations

import argparse

from iqa_robustness.errors import CorruptEntryError, StoreConflictError, Where
from iqa_robustness.reporting.store_entries import named, spoken_size
from iqa_robustness.store import Store
from iqa_robustness.store.copying import Conflict, Copied, copy_entries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store merge`."""
    parser.add_argument("sources", metavar="FROM", nargs="+", help="stores to take entries from")
    parser.add_argument("target", metavar="INTO", help="the store that gets them; made if it does not exist")
    parser.add_argument(
        "--keep-first", action="store_true", help="where contents differ, list it and keep what came first"
    )


def run(options: argparse.Namespace) -> int:
    """Merge; stopped and started again, it goes on where it was.

    Raises:
        StoreConflictError: entries differ; all others were copied.
        CorruptEntryError: entries of a source are damaged; all others were copied.
    """
    target = Store(options.target)
    merge([Store(url, read_only=True) for url in options.sources], target, keep_first=options.keep_first)
    return 0


def merge(sources: list[Store], target: Store, *, keep_first: bool = False) -> None:
    """Copy everything, say what was done, and only then complain."""
    conflicts: list[Conflict] = []
    damaged: list[str] = []
    for source in sources:
        found = copy_entries(source, target, source.digests())
        print(f"{source.shown}: {spoken(found)}")
        conflicts += found.conflicts
        damaged += found.damaged
    for conflict in conflicts:
        print(f"differs: {described(conflict)}")
    for what in damaged:
        print(f"damaged: {what}")
    if conflicts and not keep_first:
        raise StoreConflictError(
            f"{len(conflicts)} entries have the same key and different contents; {target.shown} keeps its own",
            where=Where(file=target.shown),
            fix="were they computed on different kinds of machines, or with a change that no version shows? "
            "Compute them again on one, or give --keep-first to let the first of them stand",
        )
    if damaged:
        raise CorruptEntryError(
            f"{len(damaged)} entries are damaged and were not copied",
            fix="run `iqa-robustness store verify --quarantine` on their store, compute them again, and merge again",
        )


def spoken(found: Copied) -> str:
    """`12 copied (3.4 MiB), 5 there already, 1 different, 0 damaged`."""
    return (
        f"{found.copied} copied ({spoken_size(found.size)}), {found.present} there already, "
        f"{len(found.conflicts)} different, {len(found.damaged)} damaged"
    )


def described(conflict: Conflict) -> str:
    """Which entry, which files, and who computed the two."""
    hosts = [str(entry.volatile.get("host", "unknown host")) for entry in (conflict.taken, conflict.standing)]
    files = ", ".join(conflict.files)
    return f"{named(conflict.taken)} in {files}: {conflict.taken.store.shown} ({hosts[0]}), kept that of {hosts[1]}"
