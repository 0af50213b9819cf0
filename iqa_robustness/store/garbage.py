"""What a store could do without: work that nobody goes on with, and stages of which no record speaks any longer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqa_robustness.errors import CorruptEntryError, IqaRobustnessError
from iqa_robustness.store.entry import MANIFEST, Entry
from iqa_robustness.store.keys import Key
from iqa_robustness.store.locks import is_free, remove_free
from iqa_robustness.store.scratch import in_use
from iqa_robustness.store.store import Store

_DAY = 86400.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RECORD = "record.parquet"


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One thing to do without.

    kind: record, stage, half-written, scratch, unfinished, lock or quarantined.
    path: in the store's file system; of scratch and unfinished work on the local disk.
    size: bytes.
    why: in words.
    """

    kind: str
    path: str
    size: int
    why: str


def garbage(
    store: Store, *, days: float = 7.0, record_days: float | None = None, now: float | None = None
) -> Iterator[Garbage]:
    """Everything that can go.

    Args:
        store: looked at, not changed.
        days: how old it must be at least; what dead processes of this host left, and their locks, can go at once.
        record_days: records that are older can go too, with the stages that only they need; None keeps them all.
        now: seconds since the epoch.

    Raises:
        StoreError: the store cannot be read.
    """
    look = _Look(store, time.time() if now is None else now, days)
    yield from look.entries(record_days)
    yield from look.half_written()
    yield from look.scratch()
    yield from look.quarantined()
    if store.local:
        yield from look.locks()


def remove(store: Store, found: Garbage) -> None:
    """Delete it. A lock that somebody holds by now stays. Raises StoreError."""
    try:
        if found.kind == "lock":
            remove_free(Path(found.path))
        elif found.kind in ("scratch", "unfinished"):
            _local(store).rm(found.path, recursive=True)
        else:
            if found.kind in ("record", "stage"):  # what has no manifest is no entry: readers see all of it or nothing
                store.fs.rm_file(f"{found.path}/{MANIFEST}")
            _remove_folder(store, found.path)
    except OSError as error:
        raise store.failure("cleaned", error) from error


@dataclass(frozen=True)
class _Look:
    store: Store
    now: float
    days: float

    def entries(self, record_days: float | None) -> Iterator[Garbage]:
        entries = [entry for digest in self.store.digests() if (entry := _read(self.store, digest)) is not None]
        records = [entry for entry in entries if _is_record(entry)]
        kept = []
        for record in records:
            age = self._age(f"{self.store.path_of(record.digest)}/{MANIFEST}")
            if record_days is not None and age > record_days:
                yield self._entry("record", record, f"written {age:.0f} days ago")
            else:
                kept.append(record)
        parts = {part for record in kept for part in _parts(record.manifest["key"])}
        parts |= {f"record {record.contents[_RECORD][:12]}" for record in kept}
        named = {digest for record in kept for digest in _named(record)}
        for entry in entries:
            unknown = _parts(entry.manifest["key"]) - parts
            if _is_record(entry) or entry.digest in named or not unknown:
                continue
            if self._age(f"{self.store.path_of(entry.digest)}/{MANIFEST}") >= self.days:
                yield self._entry("stage", entry, f"no record is about {min(unknown)}")

    def half_written(self) -> Iterator[Garbage]:
        """Folders without a manifest: what a writer to an object store left, or one that is writing now."""
        whole = {*self.store.digests()}
        folders: dict[str, list[str]] = {}
        for path in self.store.fs.find(f"{self.store.root}/entries"):
            folder = str(path).rpartition("/")[0]
            if folder.rpartition("/")[2] not in whole:
                folders.setdefault(folder, []).append(str(path))
        for folder, files in sorted(folders.items()):
            if min(self._age(path) for path in files) >= self.days:
                size = sum(self.store.fs.size(path) or 0 for path in files)
                yield Garbage(kind="half-written", path=folder, size=size, why="it has no manifest")

    def scratch(self) -> Iterator[Garbage]:
        """What is being written, or was: by processes of this host, of another one, or by none any longer."""
        for kind, folder in (("scratch", self.store.scratch_folder), ("unfinished", self.store.unfinished_folder)):
            for place in sorted(folder.glob("*")):
                used = in_use(place) if kind == "scratch" else None
                touched = [path.stat() for path in (place, *place.rglob("*"))]
                age = (self.now - max(facts.st_mtime for facts in touched)) / _DAY
                if used is False or (used is None and age >= self.days):
                    why = "its process is dead" if used is False else f"untouched for {age:.0f} days"
                    yield Garbage(kind=kind, path=str(place), size=sum(f.st_size for f in touched[1:]), why=why)

    def quarantined(self) -> Iterator[Garbage]:
        self.store.fs.invalidate_cache()
        folders: dict[str, list[str]] = {}
        for path in self.store.fs.find(self.store.quarantine):
            below = str(path).partition("/quarantine/")[2].partition("/")[0]
            folders.setdefault(f"{self.store.quarantine}/{below}", []).append(str(path))
        for folder, files in sorted(folders.items()):
            if min(self._age(path) for path in files) >= self.days:
                size = sum(self.store.fs.size(path) or 0 for path in files)
                yield Garbage(kind="quarantined", path=folder, size=size, why="it was damaged")

    def locks(self) -> Iterator[Garbage]:
        for path in sorted(self.store.lock_folder.glob("*.lock")):
            if is_free(path):
                yield Garbage(kind="lock", path=str(path), size=0, why="nobody holds it")

    def _entry(self, kind: str, entry: Entry, why: str) -> Garbage:
        return Garbage(kind=kind, path=self.store.path_of(entry.digest), size=entry.size, why=why)

    def _age(self, path: str) -> float:
        """Days since a file was written."""
        try:
            return float((self.now - self.store.fs.modified(path).timestamp()) / _DAY)
        except FileNotFoundError:
            return 0.0


def _read(store: Store, digest: str) -> Entry | None:
    """An entry; a damaged one is the business of `store verify`."""
    try:
        return store.find(digest)
    except CorruptEntryError:
        return None


def _is_record(entry: Entry) -> bool:
    return _RECORD in entry.manifest["files"]


def _named(record: Entry) -> set[str]:
    """Digests that a record speaks of: the stages that it was made of."""
    from iqa_robustness.store.records import Record

    try:
        meta = Record.from_files({_RECORD: record.read(_RECORD)}).meta
    except IqaRobustnessError:  # of another schema, or damaged: its key says what it is about
        meta = {}
    return {*_DIGEST.findall(Key({"meta": meta, "key": record.manifest["key"]}).text)}


def _parts(document: Mapping[str, Any]) -> set[str]:
    """What an entry is about: its metric with all that identifies it, attack and defense with their versions."""
    target = document.get("target") or {}
    found = set()
    if isinstance(target, Mapping) and isinstance(target.get("metric"), Mapping):
        metric = target["metric"]
        found.add(f"metric {metric.get('name')} {Key(metric).digest[:12]}")
    for kind, part in (("attack", document.get("attack")), ("defense", dict(target).get("defense"))):
        if isinstance(part, Mapping) and "class" in part:
            found.add(f"{kind} {part['class'].rpartition('.')[2]} version {part.get('version')}")
    if document.get("stage") == "reading":
        found.add(f"record {str(document.get('record'))[:12]}")
    return found


def _local(store: Store) -> Any:
    from fsspec.implementations.local import LocalFileSystem

    return store.fs if store.local else LocalFileSystem()


def _remove_folder(store: Store, folder: str) -> None:
    if store.local:
        store.fs.rm(folder, recursive=True)
        return
    store.fs.invalidate_cache()
    for path in store.fs.find(folder):  # one by one: not every server knows bulk deletion
        store.fs.rm_file(path)
