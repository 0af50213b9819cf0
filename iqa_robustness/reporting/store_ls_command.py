"""What a store holds: every entry with its stage, names, size and date."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.store_entries import EntryFacts, add_selection, selected, spoken_size
from iqa_robustness.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store ls`."""
    parser.add_argument("store", nargs="?", metavar="STORE", default=".iqa-store", help="folder or fsspec URL")
    add_selection(parser)
    parser.add_argument("--sort", choices=("written", "size", "metric"), default="written", help="[written]")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    found = [facts for _, facts in selected(Store(options.store, read_only=True), options)]
    found.sort(key=lambda facts: (getattr(facts, options.sort), facts.digest))
    print(json.dumps([asdict(facts) for facts in found], indent=1) if options.json else listed(found))
    return 0


def listed(found: Sequence[EntryFacts]) -> str:
    """An aligned table, and what it adds up to."""
    heads = ("entry", "stage", "metric", "defense", "attack", "scenario", "written", "size")
    lines = [
        (f.digest[:12], f.stage, f.metric, f.defense, f.attack, f.scenario, f.written, spoken_size(f.size))
        for f in found
    ]
    counts = Counter(facts.stage for facts in found)
    parts = ", ".join(f"{count} {stage}" for stage, count in sorted(counts.items()))
    total = f"{len(found)} entries, {spoken_size(sum(facts.size for facts in found))}"
    return aligned([heads, *lines], left=7) + f"\n\n{total}{': ' if parts else ''}{parts}"
