"""A leaderboard of defenses from stored records: build its pages, pack records to hand in, admit others' records."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.gate.baseline import stored_records
from iqa_robustness.reporting.leaderboard_board import board_of
from iqa_robustness.reporting.leaderboard_bundle import admitted, bundle_bytes, read_bundle
from iqa_robustness.reporting.leaderboard_site import written_site
from iqa_robustness.store import Store

_STORE = ".iqa-store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness leaderboard`."""
    parser.set_defaults(leaderboard_run=_build)
    parser.add_argument(
        "--iqa-store", metavar="URL", nargs="+", default=[_STORE], help=f"stores to take records from [{_STORE}]"
    )
    parser.add_argument("--iqa-store-base", metavar="URL", help="a store below the first one, which is only read")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the site is written")
    parser.add_argument("--dataset", default="", metavar="NAME", help="as a page names it; default: of most records")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    bundle = commands.add_parser("bundle", help="records of a store in one file, to hand in")
    bundle.add_argument("--iqa-store", metavar="URL", dest="source", default=_STORE, help=f"the store [{_STORE}]")
    bundle.add_argument("--iqa-store-base", metavar="URL", dest="base", help="a store below it, which is only read")
    bundle.add_argument("--to", type=Path, metavar="FILE", dest="file", default=Path("bundle.tar"))
    bundle.add_argument("--submitter", required=True, metavar="NAME", help="to stand beside the records")
    bundle.add_argument("--defense", default="", metavar="NAME", help="only this one, with the undefended metric")
    bundle.add_argument("--metric", default="", metavar="NAME", help="only this one")
    bundle.set_defaults(leaderboard_run=_bundle)

    add = commands.add_parser("add", help="verify a bundle and admit its records into a store")
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--iqa-store", metavar="URL", dest="target", default=_STORE, help=f"the store [{_STORE}]")
    add.add_argument(
        "--iqa-store-base", metavar="URL", dest="base", help="a store below it: what is there is not added again"
    )
    add.add_argument("--dry-run", action="store_true", help="verify only")
    add.set_defaults(leaderboard_run=_add)


def run(options: argparse.Namespace) -> int:
    """The chosen command; returns its exit code."""
    return int(options.leaderboard_run(options))


def _build(options: argparse.Namespace) -> int:
    if options.to is None:
        raise ConfigurationError("--to DIR is needed: where the site is written", fix="add --to site")
    first, *others = options.iqa_store
    stores = [Store(first, read_only=True, base=options.iqa_store_base)]
    stores += [Store(url, read_only=True) for url in others]
    board = board_of((record for store in stores for record in stored_records(store)), dataset=options.dataset)
    page = written_site(board, options.to)
    print(f"written: {page}, {len(board.contestants)} defenses, {len(board.records)} records on {board.dataset}")
    for reason, count in board.left_out.items():
        print(f"  left out: {count} of {reason}")
    return 0


def _bundle(options: argparse.Namespace) -> int:
    store = Store(options.source, read_only=True, base=options.base)
    data = bundle_bytes(store, submitter=options.submitter, defense=options.defense, metric=options.metric)
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_bytes(data)
    count = len(read_bundle(options.file).submissions)
    print(f"written: {options.file}, {count} records, {len(data) / 1024:.0f} KiB")
    return 0


def _add(options: argparse.Namespace) -> int:
    bundle = read_bundle(options.bundle)
    print(f"{options.bundle}: {len(bundle.submissions)} records of {bundle.submitter}, all as their hashes say")
    if not options.dry_run:
        new, known = admitted(bundle, Store(options.target, base=options.base))
        print(f"admitted into {options.target}: {new}; there already: {known}")
    return 0
