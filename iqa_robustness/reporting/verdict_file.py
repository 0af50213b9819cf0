"""verdict.json: what a run concluded and from what, so that anyone with the store can conclude it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqa_robustness import __version__
from iqa_robustness.errors import VerdictFileError, Where
from iqa_robustness.gate.thresholds import Thresholds
from iqa_robustness.reporting.results import Outcome
from iqa_robustness.store import Key, Store

VERSION = 1
_RECORD = "record.parquet"
# What is concluded about a cell, and must come out again.
CONCLUDED = ("status", "expected", "exit_code")


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the conclusions of a run rest on, beside its records.

    thresholds: as loaded.      today: the day of the judgement, `YYYY-MM-DD`, on which waivers held or had expired.
    baseline: file or store of `--iqa-baseline`, empty without.      exit_code: of the run.
    """

    thresholds: Thresholds
    today: str
    baseline: str
    exit_code: int


def write_verdict(cells: Sequence[Outcome], store: Store, circumstances: Circumstances, path: Path) -> Path:
    """Write the file; returns its path."""
    document: dict[str, Any] = {
        "version": VERSION,
        "iqa_robustness": __version__,
        "store": store.url,
        "thresholds": {"file": circumstances.thresholds.path.name, "sha256": circumstances.thresholds.sha256},
        "today": circumstances.today,
        "baseline": circumstances.baseline,
        "exit_code": circumstances.exit_code,
        "cells": [_cell(cell, store) for cell in sorted(cells, key=lambda cell: str(cell["name"]))],
    }
    document["sha256"] = digest_of(document)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_verdict(path: Path) -> dict[str, Any]:
    """The document.

    Raises:
        VerdictFileError: it cannot be read, is of another version, or was changed after it was written.
    """
    where = Where(file=str(path))
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, digest = document["version"], document["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerdictFileError(
            f"no verdict can be read: {error}", where=where, fix="a run writes reports/verdict.json"
        ) from error
    if version != VERSION:
        raise VerdictFileError(f"a verdict of version {version}; this one reads {VERSION}", where=where)
    if digest != digest_of(document):
        raise VerdictFileError("the verdict was changed after it was written", where=where, fix="run the suite again")
    return document


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document without its own digest."""
    return Key({name: value for name, value in document.items() if name != "sha256"}).digest


def record_sha256(store: Store, digest: str) -> str:
    """Of the record's bytes as the store's manifest has it; empty where there is none."""
    entry = store.find(digest) if digest else None
    return "" if entry is None else str(entry.manifest["files"].get(_RECORD, {}).get("sha256", ""))


def _cell(cell: Outcome, store: Store) -> dict[str, Any]:
    said = {name: cell[name] for name in ("name", "record", *CONCLUDED, "outcome")}
    return {**said, "record_sha256": record_sha256(store, cell["record"])}
