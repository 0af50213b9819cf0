"""What the entries of a store are about, in the words of a run, and how to select some of them."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from iqa_robustness import attacks, defenses
from iqa_robustness.defenses import detectors
from iqa_robustness.errors import CorruptEntryError
from iqa_robustness.registry import Registry
from iqa_robustness.store import Entry, Store
from iqa_robustness.store.entry import MANIFEST

AXES = ("stage", "metric", "defense", "attack")


@dataclass(frozen=True, kw_only=True)
class EntryFacts:
    """An entry as a line of a list.

    digest: of the key.      size: bytes of its files.      written: UTC, when it came into this store.
    stage: cell (a record), adversarial, scores, …      metric, defense, attack: names; empty where it has none.
    scenario: of a record.      seconds: that computing it took; 0 where unknown.
    """

    digest: str
    stage: str
    metric: str
    defense: str
    attack: str
    scenario: str
    size: int
    written: str
    seconds: float


def add_selection(parser: argparse.ArgumentParser) -> None:
    """`--stage`, `--metric`, `--defense`, `--attack`: patterns, separated by commas."""
    hints = {"stage": "cell (records), adversarial, scores, trained-attack …", "metric": "compact, own:*"}
    for axis in AXES:
        parser.add_argument(f"--{axis}", metavar="NAMES", default="", help=hints.get(axis, "names or patterns"))


def selected(store: Store, options: argparse.Namespace) -> Iterator[tuple[Entry, EntryFacts]]:
    """Entries of this store alone that all given patterns match, by digest; damaged ones are left to `verify`."""
    patterns = {axis: [part for part in getattr(options, axis).split(",") if part] for axis in AXES}
    for digest in store.digests():
        try:
            entry = store.find(digest)
        except CorruptEntryError:
            continue
        if entry is None:
            continue
        facts = facts_of(entry)
        if all(
            not asked or any(fnmatchcase(getattr(facts, axis), pattern) for pattern in asked)
            for axis, asked in patterns.items()
        ):
            yield entry, facts


def facts_of(entry: Entry) -> EntryFacts:
    """What its key says, and its file system."""
    key = entry.manifest["key"]
    target = key.get("target") or {}
    path = f"{entry.store.path_of(entry.digest)}/{MANIFEST}"
    return EntryFacts(
        digest=entry.digest,
        stage=str(key.get("stage", "")),
        metric=str(target.get("metric", {}).get("name", "")),
        defense=_name(target.get("defense")) or ("none" if target else ""),
        attack=_name(key.get("attack") or key.get("detector")),
        scenario=str(key.get("scenario", "")),
        size=entry.size,
        written=entry.store.fs.modified(path).astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        seconds=float(entry.volatile.get("seconds", 0.0)),
    )


def named(entry: Entry) -> str:
    """One entry in a sentence: `cell compact/flip/ifgsm (0123456789ab)`."""
    facts = facts_of(entry)
    names = "/".join(name for name in (facts.metric, facts.defense, facts.attack) if name)
    return f"{facts.stage} {names} ({entry.digest[:12]})"


def spoken_size(size: int) -> str:
    """`812 B`, `3.4 KiB`, `12.0 MiB`, `1.2 GiB`."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _name(document: Mapping[str, Any] | None) -> str:
    """The registered name of a configuration, the class's where it has none."""
    if not isinstance(document, Mapping) or "class" not in document:
        return ""
    parts = document.get("fields", {}).get("parts")
    if parts:
        return "+".join(_name(part) for part in parts)
    whole = str(document["class"])
    return _names().get(whole, whole.rpartition(".")[2])


@cache
def _names() -> dict[str, str]:
    """Registered names by class; the first of several names of one class."""
    registries: tuple[Registry[Any], ...] = (attacks.registry, defenses.registry, detectors.registry)
    found: dict[str, str] = {}
    for registry in registries:
        for entry in registry:
            found.setdefault(entry.target.replace(":", "."), entry.name)
    return found
