"""The store: write-once entries under a content address, atomic to write, verified on every read."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from iqa_robustness.errors import ConfigurationError, CorruptEntryError, StoreError, Where
from iqa_robustness.store import places
from iqa_robustness.store.entry import (
    LAYOUT,
    MANIFEST,
    VOLATILE,
    Entry,
    digest_and_size,
    is_intact,
    read_manifest,
)
from iqa_robustness.store.keys import Key
from iqa_robustness.store.locks import held, remove_all_free
from iqa_robustness.store.scratch import new_scratch, remove_abandoned

# On an object store a file's name begins with that of its content: see `Store._put_remote`.
_OBJECT = re.compile(r"[0-9a-f]{16}-(.+)")


class Store:
    """Entries by key, on any fsspec path.

    On a local disk an entry is a folder that is renamed into place whole, and `lock` makes one process compute it.
    On an object store the manifest is written last and makes the entry exist; two writers write equal bytes.

    Args:
        url: a path or fsspec URL; made if it does not exist.
        read_only: refuse to write.
        base: another store, which is only read: what this one lacks is taken from there.

    Raises:
        ConfigurationError: no such kind of URL, its fsspec driver is not installed, it holds a password, or there is
            no base.
        StoreError: the place cannot be written, where that is asked for.
    """

    def __init__(self, url: str | Path, *, read_only: bool = False, base: str | Path | None = None) -> None:
        self.url = str(url)
        self.read_only = read_only
        self.base = None if base is None else existing(base)
        self.damaged: set[str] = set()
        self.fs, root = places.opened(self.url)
        self.local = isinstance(self.fs, LocalFileSystem)
        self.root = f"{root}/v{LAYOUT}"
        if places.is_s3(self.fs):
            places.require_bucket(self.fs, root, self.url)
        if not read_only:
            with self.named_failures("prepared"):
                self._make_folder(self.root)
                remove_abandoned(self.scratch_folder)
                if self.local:
                    remove_all_free(self.lock_folder)

    def path_of(self, digest: str) -> str:
        """Where an entry is or would be."""
        return f"{self.root}/entries/{digest[:2]}/{digest}"

    def get(self, key: Key) -> Entry | None:
        """The entry of a key, or None. Raises CorruptEntryError when its manifest is damaged."""
        return self.find(key.digest)

    def find(self, digest: str) -> Entry | None:
        """The entry of a key's digest, here or in the base, or None.

        Raises:
            CorruptEntryError: its manifest is damaged. Asked again, a damaged entry is no entry; that of a base, which
                cannot be moved aside, is one no longer for the store above it.
        """
        own = self._own(digest)
        if own is not None or self.base is None or digest in self.base.damaged:
            return own
        return self.base.find(digest)

    def digests(self, *, holding: str = MANIFEST) -> list[str]:
        """Digests of all entries that hold a file of this name, sorted; their manifests are not looked at."""
        with self.named_failures("listed"):
            self.fs.invalidate_cache()
            found = self.fs.glob(f"{self.root}/entries/*/*/*{holding}")
        own = {path.split("/")[-2] for path in found if _plain(path.split("/")[-1]) == holding}
        return sorted(own | {*(self.base.digests(holding=holding) if self.base is not None else ())})

    def put(self, key: Key, files: Mapping[str, bytes | Path], *, volatile: Mapping[str, Any] | None = None) -> Entry:
        """Write an entry; if another process was first, its entry stands. Paths are moved into the store.

        Raises:
            StoreError: disk full, no permission, read-only store. Nothing half-written is left where readers look.
        """
        if self.read_only:
            raise StoreError(f"the store {self.shown} is read-only", fix="give a writable --iqa-store")
        with self.named_failures("written"):
            manifest = {
                "layout": LAYOUT,
                "key": key.document,
                "files": {n: digest_and_size(f) for n, f in files.items()},
            }
            about = json.dumps(dict(volatile or {}), sort_keys=True).encode()
            (self._put_local if self.local else self._put_remote)(key.digest, files, about, manifest)
            shutil.rmtree(self.unfinished(key), ignore_errors=True)
        # The entry that stands, which need not be this one: its own manifest describes its files.
        return self._own(key.digest) or Entry(store=self, digest=key.digest, manifest=manifest)

    @contextlib.contextmanager
    def lock(self, key: Key) -> Iterator[None]:
        """Hold while computing a key, so that it is computed once on a host; a dead holder's lock is free.

        On file systems without locks, object stores among them, it may be computed more than once; it is written once.
        """
        if not self.local or self.read_only:
            yield
            return
        path = Path(self.lock_folder, f"{key.digest}.lock")
        with contextlib.ExitStack() as stack:
            with self.named_failures("locked"):
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(path))
            try:
                yield
            finally:
                # Whoever still waits for it finds the entry; nobody else will ask for it.
                if Path(self.path_of(key.digest), MANIFEST).is_file():
                    with contextlib.suppress(OSError):
                        path.unlink()

    def quarantined(self, digest: str, reason: str) -> CorruptEntryError:
        """Move a damaged entry out of the readers' way and return the error to raise."""
        path, place = self.path_of(digest), "left in place, the store is read-only"
        self.damaged.add(digest)
        if not self.read_only:
            aside, place = f"{self.quarantine}/{digest}-{uuid.uuid4().hex[:8]}", "it cannot be moved aside"
            with contextlib.suppress(OSError):
                self._make_folder(self.quarantine)
                self._move(path, aside)
                place = f"moved to {aside}"
            if self.local and is_intact(Path(aside), digest):
                # Between the finding and the move another process had mended it.
                place = "mended by another process"
                with contextlib.suppress(OSError):
                    Path(aside).rename(path)
        return CorruptEntryError(
            f"a store entry is corrupt: {reason} ({place})",
            where=Where(file=path),
            fix="run again: the entry is computed anew; look for a failing disk if it happens again",
        )

    def scratch(self) -> Path:
        """A new local folder for files that `put` will take over; `put` or the next start removes it."""
        with self.named_failures("written"):
            return new_scratch(self.scratch_folder)

    def unfinished(self, key: Key) -> Path:
        """A local folder where a long computation of a key finds again what it left; `put` removes it."""
        return self.unfinished_folder / key.digest

    @property
    def shown(self) -> str:
        """The URL as reports and messages may have it."""
        return places.without_secrets(self.url)

    @property
    def quarantine(self) -> str:
        """Where damaged entries are."""
        return f"{self.root}/quarantine"

    @property
    def lock_folder(self) -> Path:
        """Where locks are; of a store on a local disk."""
        return Path(self.root) / "locks"

    @property
    def scratch_folder(self) -> Path:
        """Where `scratch` makes its folders."""
        return self._local_folder / "tmp"

    @property
    def unfinished_folder(self) -> Path:
        """Where `unfinished` has its folders."""
        return self._local_folder / "unfinished"

    def failure(self, done: str, error: OSError) -> StoreError:
        """The error to raise for what the file system refused."""
        return places.failure(done, self.url, error)

    def named_failures(self, done: str) -> contextlib.AbstractContextManager[None]:
        """Raise StoreError for what the file system refuses meanwhile, the scratch folder's among it."""
        return places.named_failures(done, self.url)

    @property
    def _local_folder(self) -> Path:
        return Path(self.root) if self.local else Path.home() / ".cache" / "iqa-robustness"

    def _own(self, digest: str) -> Entry | None:
        with self.named_failures("read"):
            try:
                data = self.fs.cat_file(f"{self.path_of(digest)}/{MANIFEST}")
            except (FileNotFoundError, NotADirectoryError):
                return None
        manifest = read_manifest(data, digest)
        if manifest is None:
            raise self.quarantined(digest, f"{MANIFEST} is damaged")
        return Entry(store=self, digest=digest, manifest=manifest)

    def _put_local(
        self, digest: str, files: Mapping[str, bytes | Path], about: bytes, manifest: Mapping[str, Any]
    ) -> None:
        place, target = self.scratch(), Path(self.path_of(digest))
        try:
            for name, content in {**files, VOLATILE: about, MANIFEST: _written(manifest)}.items():
                if isinstance(content, Path):
                    shutil.move(content, place / name)
                else:
                    (place / name).write_bytes(content)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.rename(target)
            except OSError:
                # Renaming onto a filled folder fails: another process was first. What has no manifest is no entry.
                if not (target / MANIFEST).is_file():
                    self.quarantined(digest, f"{MANIFEST} is missing")
                    place.rename(target)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _put_remote(
        self, digest: str, files: Mapping[str, bytes | Path], about: bytes, manifest: dict[str, Any]
    ) -> None:
        """The manifest comes last. Files are named by their content: a second writer, or one that is killed half-way,
        never touches what the first one's manifest speaks of.
        """
        folder = self.path_of(digest)
        if self._own(digest) is not None:
            return
        self._make_folder(folder)
        for name, content in files.items():
            facts = manifest["files"][name]
            facts["object"] = f"{facts['sha256'][:16]}-{name}"
            path = f"{folder}/{facts['object']}"
            if isinstance(content, Path):
                self.fs.put_file(str(content), path)
            else:
                self.fs.pipe_file(path, content)
        self.fs.pipe_file(f"{folder}/{VOLATILE}", about)
        self.fs.pipe_file(f"{folder}/{MANIFEST}", _written(manifest))

    def _move(self, path: str, target: str) -> None:
        if self.local:
            Path(path).rename(target)
            return
        self.fs.invalidate_cache()
        found = sorted(self.fs.find(path), key=lambda file: not file.endswith(f"/{MANIFEST}"))
        if not found:
            raise FileNotFoundError(path)
        self._make_folder(target)
        for file in found:
            self.fs.cp_file(file, f"{target}/{file.rpartition('/')[2]}")
        for file in found:  # without its manifest, which goes first, it is no entry
            self.fs.rm_file(file)

    def _make_folder(self, path: str) -> None:
        if not places.is_s3(self.fs):
            self.fs.makedirs(path, exist_ok=True)


def existing(url: str | Path) -> Store:
    """A base, to be read. Raises ConfigurationError where there is none."""
    base = Store(url, read_only=True)
    if base.local and not Path(base.root).is_dir():
        raise ConfigurationError(
            f"there is no store at {base.shown}, which --iqa-store-base names",
            fix="fill it by a run with --iqa-store on the protected branch, or leave the option out",
        )
    return base


def _written(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, indent=1).encode()


def _plain(name: str) -> str:
    """A file's name without that of its content."""
    found = _OBJECT.fullmatch(name)
    return found[1] if found else name
