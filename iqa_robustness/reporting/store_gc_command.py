"""Remove from a store what nobody needs: abandoned and damaged work, dead locks, stages without a record."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.store_entries import spoken_size
from iqa_robustness.store import Store
from iqa_robustness.store.garbage import Garbage, garbage, remove


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store gc`."""
    parser.add_argument("store", nargs="?", metavar="STORE", default=".iqa-store", help="folder or fsspec URL")
    parser.add_argument("--delete", action="store_true", help="do it; without this, only say what would go")
    parser.add_argument("--older-than", type=float, default=7.0, metavar="DAYS", help="leave alone what is younger [7]")
    parser.add_argument(
        "--records-older-than",
        type=float,
        metavar="DAYS",
        help="records that are older go too, with the stages that only they need [all are kept]",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(options: argparse.Namespace) -> int:
    """List what can go, and remove it where that is asked for."""
    store = Store(options.store, read_only=True)
    found = [*garbage(store, days=options.older_than, record_days=options.records_older_than)]
    if options.delete:
        writable = Store(options.store)
        for thing in found:
            remove(writable, thing)
    if options.json:
        print(json.dumps({"deleted": options.delete, "found": [asdict(thing) for thing in found]}, indent=1))
    else:
        print(described(found, deleted=options.delete))
    return 0


def described(found: Sequence[Garbage], *, deleted: bool) -> str:
    """An aligned table, and what it adds up to."""
    lines = [(g.kind, g.path.rpartition("/")[2][:20], g.why, spoken_size(g.size)) for g in found if g.kind != "lock"]
    locks = [g for g in found if g.kind == "lock"]
    if locks:
        lines.append(("lock", f"{len(locks)} files", locks[0].why, spoken_size(0)))
    size = spoken_size(sum(thing.size for thing in found))
    done = f"{len(found)} things {'removed' if deleted else 'could go'}, {size}"
    hint = "" if deleted or not found else "; --delete removes them"
    return (aligned([("kind", "what", "why", "size"), *lines], left=3) + "\n\n" if found else "") + done + hint
