"""Which entries two stores have in common, which differ, and which only one of them has."""

from __future__ import annotations

import argparse
import json
from collections import Counter

from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.store_entries import EntryFacts, add_selection, selected
from iqa_robustness.store import Store

_KINDS = ("only in A", "only in B", "different", "equal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store diff`."""
    parser.add_argument("first", metavar="A", help="folder or fsspec URL of a store")
    parser.add_argument("second", metavar="B", help="of another")
    add_selection(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable; equal entries too")


def run(options: argparse.Namespace) -> int:
    """Print the differences; exit code 1 where there is one. Manifests are compared, not bytes: see `verify`."""
    first, second = (
        {entry.digest: (entry, facts) for entry, facts in selected(Store(url, read_only=True), options)}
        for url in (options.first, options.second)
    )
    found: list[tuple[str, EntryFacts]] = []
    for digest in sorted({*first, *second}):
        if digest not in second:
            kind = _KINDS[0]
        elif digest not in first:
            kind = _KINDS[1]
        else:
            kind = _KINDS[3] if first[digest][0].contents == second[digest][0].contents else _KINDS[2]
        found.append((kind, (first.get(digest) or second[digest])[1]))
    counts = Counter(kind for kind, _ in found)
    if options.json:
        rows = [{"digest": f.digest, "stage": f.stage, "found": kind} for kind, f in found]
        print(json.dumps({"counts": {kind: counts[kind] for kind in _KINDS}, "entries": rows}, indent=1))
    else:
        lines = [
            (kind, facts.digest[:12], facts.stage, facts.metric, facts.defense, facts.attack)
            for kind, facts in sorted(found, key=lambda pair: (_KINDS.index(pair[0]), pair[1].metric, pair[1].digest))
            if kind != _KINDS[3]
        ]
        if lines:
            print(aligned([("found", "entry", "stage", "metric", "defense", "attack"), *lines], left=6) + "\n")
        print(", ".join(f"{counts[kind]} {kind}" for kind in _KINDS))
    return int(ExitCode.FAIL) if len(found) > counts[_KINDS[3]] else 0
