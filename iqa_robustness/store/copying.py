"""Entries of one store into another: verified, resumable, and never over an entry that says something else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field

from iqa_robustness.errors import CorruptEntryError
from iqa_robustness.store.entry import Entry
from iqa_robustness.store.keys import Key
from iqa_robustness.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One key with two contents.

    taken, standing: the entry that was to be copied, and the one that is there.
    """

    taken: Entry
    standing: Entry

    @property
    def files(self) -> list[str]:
        """Names of the files that differ."""
        first, second = self.taken.contents, self.standing.contents
        return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


@dataclass(kw_only=True)
class Copied:
    """What became of the entries.

    copied, size: how many are new, and their bytes.
    present: how many were there already, with the same content.
    conflicts: same key, other content; the one that stood there stands.
    damaged: what is wrong with those of the source that could not be read.
    """

    copied: int = 0
    size: int = 0
    present: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def copy_entries(source: Store, target: Store, digests: Iterable[str]) -> Copied:
    """Copy finished entries; every byte is verified as it is read, and again by its digest when it is written.

    An entry that is there already is left alone, so a copy that was stopped goes on where it was. Facts that may differ
    between equal runs (`volatile`) are those of whichever entry was first.

    Raises:
        StoreError: the target cannot be written, or one of the two not be read.
    """
    found = Copied()
    for digest in digests:
        try:
            entry = source.find(digest)
            if entry is None:
                continue
            standing = _standing(target, digest)
            if standing is None:
                standing = copied(entry, target)
                found.copied += 1
                found.size += entry.size
            else:
                found.present += 1
        except CorruptEntryError as error:
            found.damaged.append(f"{digest}: {error.what}")
            continue
        if standing.contents != entry.contents:
            found.present -= 1
            found.conflicts.append(Conflict(taken=entry, standing=standing))
    return found


def copied(entry: Entry, target: Store) -> Entry:
    """Copy one entry; returns the one that stands. Raises CorruptEntryError, StoreError."""
    scratch = target.scratch()
    try:
        for name in entry.manifest["files"]:
            with entry.open(name) as file, (scratch / name).open("wb") as copy:
                shutil.copyfileobj(file, copy)
        files = {name: scratch / name for name in entry.manifest["files"]}
        return target.put(Key(entry.manifest["key"]), files, volatile=entry.volatile)
    except OSError as error:
        raise target.failure("written", error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _standing(target: Store, digest: str) -> Entry | None:
    """What the target has under the digest; a manifest that is damaged makes way."""
    try:
        return target.find(digest)
    except CorruptEntryError:
        return target.find(digest)
