"""The store: write-once entries under a content address, atomic to write, verified on every read."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from iqa_robustness.errors import ConfigurationError, CorruptEntryError, StoreError, Where
from iqa_robustness.store.keys import Key

_MANIFEST = "manifest.json"
_VOLATILE = "volatile.json"
_LAYOUT = 1
# The access right of Windows that is enough to ask whether a process runs.
_SYNCHRONIZE = 0x00100000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished entry: its files have the digests of its manifest.

    store: where it is.
    digest: of the key.
    manifest: layout, key document, and name, SHA-256 and size of every file.
    """

    store: Store
    digest: str
    manifest: dict[str, Any]

    def read(self, name: str) -> bytes:
        """A file's bytes, verified. Raises CorruptEntryError after moving the entry to quarantine."""
        with self.open(name) as file:
            return file.read()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file for reading, verified from end to end before the first byte is handed out."""
        path = f"{self.store.path_of(self.digest)}/{name}"
        if name not in self.manifest["files"]:
            held = ", ".join(sorted(self.manifest["files"])) or "no files"
            raise StoreError(f"a store entry has no file {name!r}", where=Where(file=path), fix=f"it holds {held}")
        # What the caller does with the file fails outside of these handlers: it says nothing about the entry.
        try:
            file = self.store.fs.open(path, "rb")
        except (FileNotFoundError, NotADirectoryError):
            raise self.store.quarantined(self.digest, f"{name} is missing") from None
        except OSError as error:
            raise self.store.failure("read", error) from error
        with file:
            try:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == self.manifest["files"][name]["sha256"]
                file.seek(0)
            except OSError as error:
                raise self.store.failure("read", error) from error
            if not intact:
                raise self.store.quarantined(self.digest, f"{name} does not match its digest")
            yield file

    def files(self) -> dict[str, bytes]:
        """All files, verified."""
        return {name: self.read(name) for name in self.manifest["files"]}

    @property
    def volatile(self) -> dict[str, Any]:
        """Facts about the run that wrote the entry; not part of its identity, empty if unreadable."""
        try:
            loaded: dict[str, Any] = json.loads(
                self.store.fs.cat_file(f"{self.store.path_of(self.digest)}/{_VOLATILE}")
            )
        except (OSError, ValueError):
            return {}
        return loaded


class Store:
    """Entries by key, on any fsspec path.

    On a local disk an entry is a folder that is renamed into place whole, and `lock` makes one process compute it.
    On an object store the manifest is written last and makes the entry exist; two writers write equal bytes.

    Args:
        url: a path or fsspec URL; made if it does not exist.
        read_only: refuse to write.

    Raises:
        ConfigurationError: no such kind of URL, or its fsspec driver is not installed.
        StoreError: the place cannot be written, where that is asked for.
    """

    def __init__(self, url: str | Path, *, read_only: bool = False) -> None:
        self.url = str(url)
        self.read_only = read_only
        try:
            self.fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"the store {self.url!r} cannot be opened: {error}",
                fix="give --iqa-store a folder, or a URL whose fsspec driver is installed (s3fs for s3://)",
            ) from error
        self.local = isinstance(self.fs, LocalFileSystem)
        self.root = f"{root.rstrip('/')}/v{_LAYOUT}"
        if not read_only:
            with self._named_failures("prepared"):
                self.fs.makedirs(self.root, exist_ok=True)
                self._remove_abandoned()

    def path_of(self, digest: str) -> str:
        """Where an entry is or would be."""
        return f"{self.root}/entries/{digest[:2]}/{digest}"

    def get(self, key: Key) -> Entry | None:
        """The entry of a key, or None. Raises CorruptEntryError when its manifest is damaged."""
        return self.find(key.digest)

    def find(self, digest: str) -> Entry | None:
        """The entry of a key's digest, or None. Raises CorruptEntryError when its manifest is damaged."""
        try:
            data = self.fs.cat_file(f"{self.path_of(digest)}/{_MANIFEST}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self.failure("read", error) from error
        try:
            manifest = json.loads(data)
            intact = manifest["layout"] == _LAYOUT and Key(manifest["key"]).digest == digest
            intact = intact and all(isinstance(facts["sha256"], str) for facts in manifest["files"].values())
        except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
            intact = False
        if not intact:
            raise self.quarantined(digest, f"{_MANIFEST} is damaged")
        return Entry(store=self, digest=digest, manifest=manifest)

    def digests(self, *, holding: str = _MANIFEST) -> list[str]:
        """Digests of all entries that hold a file of this name, sorted; their manifests are not looked at."""
        try:
            return sorted(path.split("/")[-2] for path in self.fs.glob(f"{self.root}/entries/*/*/{holding}"))
        except OSError as error:
            raise self.failure("listed", error) from error

    def put(self, key: Key, files: Mapping[str, bytes | Path], *, volatile: Mapping[str, Any] | None = None) -> Entry:
        """Write an entry; if another process was first, its entry stands. Paths are moved into the store.

        Raises:
            StoreError: disk full, no permission, read-only store. Nothing half-written is left where readers look.
        """
        if self.read_only:
            raise StoreError(f"the store {self.url} is read-only", fix="give a writable --iqa-store")
        with self._named_failures("written"):
            manifest = {"layout": _LAYOUT, "key": key.document, "files": {n: _facts(f) for n, f in files.items()}}
            own = {
                _VOLATILE: json.dumps(dict(volatile or {}), sort_keys=True).encode(),
                _MANIFEST: json.dumps(manifest, sort_keys=True, indent=1).encode(),
            }
            (self._put_local if self.local else self._put_remote)(key.digest, {**files, **own})
            shutil.rmtree(self.unfinished(key), ignore_errors=True)
        # The entry that stands, which need not be this one: its own manifest describes its files.
        return self.get(key) or Entry(store=self, digest=key.digest, manifest=manifest)

    @contextlib.contextmanager
    def lock(self, key: Key) -> Iterator[None]:
        """Hold while computing a key, so that it is computed once on a host; a dead holder's lock is free."""
        if not self.local or self.read_only:
            yield
            return
        folder = Path(self.root, "locks")
        with self._named_failures("locked"):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{key.digest}.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def quarantined(self, digest: str, reason: str) -> CorruptEntryError:
        """Move a damaged entry out of the readers' way and return the error to raise."""
        path, place = self.path_of(digest), "left in place, the store is read-only"
        if not self.read_only:
            aside, place = f"{self.root}/quarantine/{digest}-{uuid.uuid4().hex[:8]}", "it cannot be moved aside"
            with contextlib.suppress(OSError):
                self.fs.makedirs(f"{self.root}/quarantine", exist_ok=True)
                self.fs.mv(path, aside, recursive=True)
                place = f"moved to {aside}"
        return CorruptEntryError(
            f"a store entry is corrupt: {reason} ({place})",
            where=Where(file=path),
            fix="run again: the entry is computed anew; look for a failing disk if it happens again",
        )

    def scratch(self) -> Path:
        """A new local folder for files that `put` will take over; `put` or the next start removes it."""
        place = self._scratch_folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with self._named_failures("written"):
            place.mkdir(parents=True)
        return place

    def unfinished(self, key: Key) -> Path:
        """A local folder where a long computation of a key finds again what it left; `put` removes it."""
        return self._local_folder / "unfinished" / key.digest

    @property
    def _scratch_folder(self) -> Path:
        return self._local_folder / "tmp"

    @property
    def _local_folder(self) -> Path:
        return Path(self.root) if self.local else Path.home() / ".cache" / "iqa-robustness"

    def _put_local(self, digest: str, files: Mapping[str, bytes | Path]) -> None:
        place, target = self.scratch(), Path(self.path_of(digest))
        try:
            for name, content in files.items():
                if isinstance(content, Path):
                    shutil.move(content, place / name)
                else:
                    (place / name).write_bytes(content)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.rename(target)
            except OSError:
                # Renaming onto a filled folder fails: another process was first. What has no manifest is no entry.
                if not (target / _MANIFEST).is_file():
                    self.quarantined(digest, f"{_MANIFEST} is missing")
                    place.rename(target)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _put_remote(self, digest: str, files: Mapping[str, bytes | Path]) -> None:
        if self.fs.exists(f"{self.path_of(digest)}/{_MANIFEST}"):
            return
        for name, content in files.items():  # the manifest comes last
            path = f"{self.path_of(digest)}/{name}"
            if isinstance(content, Path):
                self.fs.put_file(str(content), path)
            else:
                self.fs.pipe_file(path, content)

    def _remove_abandoned(self) -> None:
        """Remove what processes of this host that no longer run left unfinished."""
        # Whole names: host `node` must not touch what host `node-1` is about to finish.
        own = re.compile(rf"{re.escape(socket.gethostname())}-(\d{{1,9}})-[0-9a-f]{{8}}")
        for place in self._scratch_folder.glob("*"):
            name = own.fullmatch(place.name)
            if name and not _alive(int(name[1])):
                shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def _named_failures(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.failure(done, error) from error

    def failure(self, done: str, error: OSError) -> StoreError:
        """The error to raise for what the file system refused."""
        return StoreError(
            f"the store cannot be {done}: {error}",
            where=Where(file=self.url),
            fix="check free disk space and permissions, or give another --iqa-store",
        )


def _facts(content: bytes | Path) -> dict[str, str | int]:
    if isinstance(content, Path):
        with content.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": content.stat().st_size}
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _alive(pid: int) -> bool:
    if sys.platform == "win32":
        # There os.kill does not ask: it sends Ctrl-C, or ends the process.
        handle = ctypes.windll.kernel32.OpenProcess(_SYNCHRONIZE, False, pid)
        return bool(handle and ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
