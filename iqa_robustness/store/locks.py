"""Locks that die with their holder, and are cleared away when nobody needs them."""

from __future__ import annotations

import contextlib
import errno
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of this file; whoever else wants it waits. Where the file system has no locks, nobody does.

    Raises OSError when the file cannot be made.
    """
    if not _has_locks(path.parent):
        yield
        return
    lock = FileLock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_free(path: Path) -> bool:
    """Whether nobody holds a lock."""
    try:
        with FileLock(path, timeout=0):
            return True
    except (Timeout, OSError):
        return False


def remove_free(path: Path) -> None:
    """Remove a lock's file unless somebody holds it. It is held meanwhile: who waits tries again with a new file."""
    with contextlib.suppress(Timeout, OSError), FileLock(path, timeout=0):
        path.unlink(missing_ok=True)


def remove_all_free(folder: Path) -> None:
    """Remove what killed processes left."""
    for path in folder.glob("*.lock"):
        remove_free(path)


@lru_cache(maxsize=16)
def _has_locks(folder: Path) -> bool:
    """Locks that are files, which filelock has for the other file systems, would outlive a killed holder."""
    if sys.platform == "win32":
        return True
    with tempfile.TemporaryFile(dir=folder) as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return True
