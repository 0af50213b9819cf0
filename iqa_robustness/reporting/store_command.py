"""What is done with stores from outside of a run: look, verify, clean, copy, compare, export."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.gate.baseline import SUFFIX, Baseline, written
from iqa_robustness.reporting import (
    store_diff_command,
    store_export_command,
    store_gc_command,
    store_ls_command,
    store_merge_command,
    store_promote_command,
    store_verify_command,
)

_COMMANDS = (
    ("ls", store_ls_command, "what a store holds"),
    ("verify", store_verify_command, "compare every file with its digest"),
    ("gc", store_gc_command, "remove what nobody needs (says what; --delete does it)"),
    ("merge", store_merge_command, "copy the entries of stores into another"),
    ("promote", store_promote_command, "copy an overlay into its base, from a protected branch"),
    ("export", store_export_command, "copy a part of a store into a folder or a tar file"),
    ("diff", store_diff_command, "what two stores have in common, and what not"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness store`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module, summary in _COMMANDS:
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(store_run=module.run)
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
