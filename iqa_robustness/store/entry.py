"""A finished entry of a store, verified as it is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, StoreError, Where
from iqa_robustness.store.keys import Key
from iqa_robustness.store.places import named_failures

if TYPE_CHECKING:
    from iqa_robustness.store.store import Store

LAYOUT = 1
MANIFEST = "manifest.json"
VOLATILE = "volatile.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished entry: its files have the digests of its manifest.

    store: where it is.
    digest: of the key.
    manifest: layout, key document, and name, SHA-256 and size of every file; `object` where it lies under another name.
    """

    store: Store
    digest: str
    manifest: dict[str, Any]

    @property
    def contents(self) -> dict[str, str]:
        """SHA-256 of every file by its name: what two entries of one key must agree in."""
        return {name: str(facts["sha256"]) for name, facts in self.manifest["files"].items()}

    @property
    def size(self) -> int:
        """Bytes of all files, as the manifest has them."""
        return sum(int(facts.get("size", 0)) for facts in self.manifest["files"].values())

    def path(self, name: str) -> str:
        """Where a file of the manifest lies, in the store's file system."""
        return f"{self.store.path_of(self.digest)}/{self.manifest['files'][name].get('object', name)}"

    def read(self, name: str) -> bytes:
        """A file's bytes, verified. Raises CorruptEntryError after moving the entry to quarantine."""
        with self.open(name) as file:
            return file.read()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file for reading, verified from end to end before the first byte is handed out."""
        if name not in self.manifest["files"]:
            held = ", ".join(sorted(self.manifest["files"])) or "no files"
            where = Where(file=f"{self.store.path_of(self.digest)}/{name}")
            raise StoreError(f"a store entry has no file {name!r}", where=where, fix=f"it holds {held}")
        path = self.path(name)
        # What the caller does with the file fails outside of these handlers: it says nothing about the entry.
        with named_failures("read", self.store.url):
            try:
                file = self.store.fs.open(path, "rb")
            except (FileNotFoundError, NotADirectoryError):
                raise self.store.quarantined(self.digest, f"{name} is missing") from None
        with file:
            with named_failures("read", self.store.url):
                facts = self.manifest["files"][name]
                intact = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
                intact = intact and facts.get("size") in (None, file.seek(0, os.SEEK_END))
                file.seek(0)
            if not intact:
                raise self.store.quarantined(self.digest, f"{name} does not match its digest")
            yield file

    def files(self) -> dict[str, bytes]:
        """All files, verified."""
        return {name: self.read(name) for name in self.manifest["files"]}

    def verify(self) -> None:
        """Read everything and keep nothing. Raises CorruptEntryError after moving the entry to quarantine."""
        for name in self.manifest["files"]:
            with self.open(name):
                pass

    @property
    def volatile(self) -> dict[str, Any]:
        """Facts about the run that wrote the entry; not part of its identity, empty if unreadable."""
        try:
            loaded: dict[str, Any] = json.loads(self.store.fs.cat_file(f"{self.store.path_of(self.digest)}/{VOLATILE}"))
        except (OSError, ValueError):
            return {}
        return loaded


def read_manifest(data: bytes, digest: str) -> dict[str, Any] | None:
    """A manifest, if it is that of the entry of this digest."""
    try:
        manifest: dict[str, Any] = json.loads(data)
        intact = manifest["layout"] == LAYOUT and Key(manifest["key"]).digest == digest
        intact = intact and all(isinstance(facts["sha256"], str) for facts in manifest["files"].values())
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return None
    return manifest if intact else None


def is_intact(folder: Path, digest: str) -> bool:
    """Whether an entry's folder holds what its manifest says."""
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes(), digest)
        files = manifest["files"].items() if manifest else ()
        whole = all(
            digest_and_size(folder / facts.get("object", name))["sha256"] == facts["sha256"] for name, facts in files
        )
    except OSError:
        return False
    return manifest is not None and whole


def digest_and_size(content: bytes | Path) -> dict[str, str | int]:
    """`sha256` and `size` of a file's content."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": content.stat().st_size}
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
