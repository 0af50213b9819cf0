"""Explain, check and tighten thresholds.yaml, and print its JSON Schema."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator
from pathlib import Path

from iqa_robustness.axes import Axes
from iqa_robustness.bench.plan import Selection, check_selection, parsed_patterns
from iqa_robustness.bench.profiles import names, profile
from iqa_robustness.errors import ConfigurationError, ExitCode
from iqa_robustness.gate.baseline import stored_records
from iqa_robustness.gate.thresholds import Thresholds
from iqa_robustness.gate.thresholds_schema import as_text
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.results import is_planted
from iqa_robustness.reporting.threshold_cells import NamedCell, named_cells, profile_cells
from iqa_robustness.reporting.threshold_explanation import explained
from iqa_robustness.reporting.threshold_lint import findings
from iqa_robustness.reporting.threshold_suggestions import completed, difference, suggestions
from iqa_robustness.store import Record, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness thresholds`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    explain = commands.add_parser("explain", help="what a cell is held to, and where each number comes from")
    explain.add_argument("cell", metavar="CELL", help="as in reports, for one adaptive:compact/flip/ifgsm/medium")
    explain.set_defaults(thresholds_run=_explain)
    lint = commands.add_parser("lint", help="rules that select nothing or are overridden, waivers that have expired")
    lint.add_argument("--iqa-profile", choices=names(), default="smoke")
    for axis in ("metric", "defense", "attack", "strength"):
        lint.add_argument(f"--iqa-{axis}", metavar="NAMES", default="", help="as the run names them [the profile's]")
    lint.add_argument("--strict", action="store_true", help="exit 1 on every finding, not on expired waivers alone")
    lint.set_defaults(thresholds_run=_lint)
    suggest = commands.add_parser("suggest", help="tighter bounds from a store, as a diff")
    suggest.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="folder or fsspec URL of the store")
    suggest.add_argument("--iqa-store-base", metavar="URL", help="a store below it, which is only read")
    suggest.add_argument("--margin", type=float, default=0.1, help="share that a value may get worse by [0.1]")
    suggest.add_argument("--write", action="store_true", help="add the rules to the file")
    suggest.set_defaults(thresholds_run=_suggest)
    schema = commands.add_parser("schema", help="the JSON Schema of the file, for editors")
    schema.set_defaults(thresholds_run=_schema)
    for command in (explain, lint, suggest):
        command.add_argument("--iqa-thresholds", type=Path, default=Path("thresholds.yaml"), metavar="FILE")


def run(options: argparse.Namespace) -> int:
    """The chosen command; returns its exit code."""
    return int(options.thresholds_run(options))


def _explain(options: argparse.Namespace) -> int:
    thresholds = Thresholds.load(options.iqa_thresholds)
    cell = NamedCell.parsed(options.cell)
    axes = ("metric", "defense", "attack")
    check_selection(Selection(**{axis: (name,) for axis in axes if (name := getattr(cell, axis))}))
    print(explained(thresholds, cell, today=_today()))
    return 0


def _lint(options: argparse.Namespace) -> int:
    thresholds = Thresholds.load(options.iqa_thresholds)
    axes = ("metric", "defense", "attack", "strength")
    user = Selection(**{axis: parsed_patterns(getattr(options, f"iqa_{axis}")) for axis in axes})
    check_selection(user)
    chosen = profile(options.iqa_profile)
    cells = profile_cells(chosen, user)
    found = findings(thresholds, cells, today=_today(), named=lambda match: named_cells(chosen, match))
    if found:
        print(aligned([(f"line {one.line}", one.kind, one.text) for one in found], left=3))
    print(
        f"{thresholds.path}: {len(thresholds.rules)} rules, {len(cells)} cells of profile {options.iqa_profile}, "
        f"{len(found)} finding{'' if len(found) == 1 else 's'}"
    )
    grave = [one for one in found if one.kind == "expired" or (options.strict and one.kind != "elsewhere")]
    return int(ExitCode.FAIL) if grave else 0


def _suggest(options: argparse.Namespace) -> int:
    if not 0 <= options.margin < 1:
        raise ConfigurationError(f"--margin must lie in [0, 1), got {options.margin}", fix="0.1 is a tenth")
    thresholds = Thresholds.load(options.iqa_thresholds)
    found = suggestions(thresholds, _records(options), margin=options.margin)
    if not found:
        print("nothing in the store passes by more than the margin: no suggestion")
        return 0
    before = options.iqa_thresholds.read_text(encoding="utf-8")
    after = completed(before, found)
    if Thresholds.from_text(after, options.iqa_thresholds).rules[: len(thresholds.rules)] != thresholds.rules:
        raise ConfigurationError("rules cannot be added at the end of the file", fix="make `rules:` its last key")
    print(difference(before, after, name=str(options.iqa_thresholds)), end="")
    learned = sum(one.cells for one in found)
    print(f"{len(found)} rule{'' if len(found) == 1 else 's'} from {learned} cells that pass")
    if options.write:
        options.iqa_thresholds.write_text(after, encoding="utf-8")
        print(f"written: {options.iqa_thresholds}")
    else:
        print("nothing was written; --write adds the rules")
    return 0


def _schema(options: argparse.Namespace) -> int:
    del options
    print(as_text(), end="")
    return 0


def _records(options: argparse.Namespace) -> Iterator[tuple[Axes, Record]]:
    """Every record of the store, its base included, that is about a real metric."""
    for record in stored_records(Store(options.iqa_store, read_only=True, base=options.iqa_store_base)):
        cell = record.meta["cell"]
        if not is_planted(cell["metric"]):
            axes = ("metric", "defense", "attack", "strength", "scenario", "goal")
            yield NamedCell(**{axis: cell[axis] for axis in axes}), record


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()
