"""Conclude again what a run concluded, from its records, and say whether the same comes out."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iqa_robustness.errors import ExitCode, IqaRobustnessError, MissingCellError
from iqa_robustness.gate.baseline import Baseline
from iqa_robustness.gate.comparisons import Attempt, attempt_of
from iqa_robustness.gate.doubts import doubted
from iqa_robustness.gate.thresholds import Thresholds
from iqa_robustness.gate.verdict import PRECEDENCE, judge
from iqa_robustness.reporting.comparison import cell_of
from iqa_robustness.reporting.verdict_file import CONCLUDED, read_verdict, record_sha256
from iqa_robustness.store import Record, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness verify`."""
    parser.add_argument("verdict", type=Path, metavar="FILE", help="reports/verdict.json of a run")
    parser.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="folder or fsspec URL of the store")
    parser.add_argument("--iqa-store-base", metavar="URL", help="where the run had one")
    parser.add_argument("--iqa-thresholds", type=Path, default=Path("thresholds.yaml"), metavar="FILE")
    parser.add_argument("--iqa-baseline", default="", metavar="FILE", help="where the run had one")


def run(options: argparse.Namespace) -> int:
    """Print every difference; exit code 1 where there is one."""
    document = read_verdict(options.verdict)
    store = Store(options.iqa_store, read_only=True, base=options.iqa_store_base)
    thresholds = Thresholds.load(options.iqa_thresholds)
    differences = _circumstances(document, options, thresholds)
    baseline = Baseline.load(options.iqa_baseline) if options.iqa_baseline else None
    today = datetime.date.fromisoformat(document["today"])
    found, attempts = {}, {}
    for cell in document["cells"]:
        name = str(cell["name"])
        try:
            record = _record(cell, store)
            if record is None:
                found[name] = {**cell}  # missing then: nothing to judge now
                continue
            before = baseline.of(record) if baseline is not None else None
            verdict = judge(record, thresholds.for_cell(cell_of(record)), today=today, baseline=before)
        except IqaRobustnessError as error:
            differences.append(f"{name}: {error.what}")
            continue
        facts = {"status": verdict.status, "expected": verdict.expected, "exit_code": int(verdict.exit_code)}
        found[name] = {**cell, **facts, "reasons": [*verdict.reasons]}
        attempt = attempt_of(record)
        if attempt is not None:
            attempts[name] = attempt
    differences += _concluded(document, found, attempts)
    for line in differences:
        print(line)
    count = len(document["cells"])
    print(
        f"{count} cell{'' if count == 1 else 's'}, {len(differences)} difference{'' if len(differences) == 1 else 's'}"
    )
    return int(ExitCode.FAIL) if differences else 0


def _circumstances(document: Mapping[str, Any], options: argparse.Namespace, thresholds: Thresholds) -> list[str]:
    lines = []
    if thresholds.sha256 != document["thresholds"]["sha256"]:
        lines.append(f"{options.iqa_thresholds} is not the file of the run (another SHA-256)")
    if document["baseline"] and not options.iqa_baseline:
        lines.append(f"the run was held against the baseline {document['baseline']}; give --iqa-baseline")
    return lines


def _record(cell: Mapping[str, Any], store: Store) -> Record | None:
    """The cell's record; None where the run had none. Raises CorruptEntryError or ConfigurationError."""
    if not cell["record"]:
        return None
    entry = store.find(str(cell["record"]))
    if entry is None:
        raise MissingCellError(f"the record {cell['record'][:12]} is not in the store {store.url}")
    if record_sha256(store, entry.digest) != cell["record_sha256"]:
        raise MissingCellError(f"the record {cell['record'][:12]} holds other numbers than the run judged")
    return Record.from_files(entry.files(), volatile=entry.volatile)


def _concluded(
    document: Mapping[str, Any], found: dict[str, dict[str, Any]], attempts: Mapping[str, Attempt]
) -> list[str]:
    """What is concluded now and was not then."""
    doubted(found, attempts)
    lines = []
    for cell in document["cells"]:
        now = found.get(str(cell["name"]))
        if now is None:
            continue
        # A test may say more than its cell: then the run counted the test's own failure.
        own = cell["outcome"] == "failed" and now["exit_code"] == ExitCode.PASS and cell["exit_code"] == ExitCode.FAIL
        for what in CONCLUDED:
            if now[what] != cell[what] and not own:
                lines.append(f"{cell['name']}: {what} was {cell[what]}, is {now[what]}")
        if own:
            now["exit_code"] = cell["exit_code"]
    codes = {ExitCode(cell["exit_code"]) for cell in found.values() if cell["outcome"] == "failed"}
    code = next((each for each in PRECEDENCE if each in codes), ExitCode.PASS)
    judged = {int(each) for each in PRECEDENCE} | {0}
    if document["exit_code"] in judged and code != document["exit_code"] and not lines:
        lines.append(f"the run ended with {document['exit_code']}, its cells say {int(code)}")
    return lines
