"""What is done with a store from outside of a run: export what later runs are compared with."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.gate.baseline import SUFFIX, Baseline, written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    export = commands.add_parser("export-baseline", help="all records of a store as one file, for --iqa-baseline")
    export.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="folder or fsspec URL of the store")
    export.add_argument("--to", type=Path, default=Path("baseline.parquet"), help="the file [baseline.parquet]")
    export.set_defaults(store_run=_export)


def run(options: argparse.Namespace) -> int:
    """The chosen command; returns its exit code."""
    return int(options.store_run(options))


def _export(options: argparse.Namespace) -> int:
    if options.to.suffix != SUFFIX:
        raise ConfigurationError(f"--to must end in {SUFFIX}, got {options.to}", fix=f"write baseline{SUFFIX}")
    baseline = Baseline.load(options.iqa_store)
    path = written(baseline, options.to)
    images = sum(len(record.images) for record in baseline.records.values())
    print(f"written: {path}, {len(baseline.records)} cells, {images} rows, {path.stat().st_size / 1024:.0f} KiB")
    return 0
