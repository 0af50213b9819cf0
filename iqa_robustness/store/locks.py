"""Locks that die with their holder, and are cleared away when nobody needs them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout


def is_free(path: Path) -> bool:
    """Whether nobody holds a lock."""
    try:
        with FileLock(path, blocking=False):
            return True
    except (Timeout, OSError, NotImplementedError):
        return False


def remove_free(path: Path) -> None:
    """Remove a lock's file unless somebody holds it. It is held meanwhile: who waits tries again with a new file."""
    with contextlib.suppress(Timeout, OSError, NotImplementedError), FileLock(path, blocking=False):
        path.unlink(missing_ok=True)


def remove_all_free(folder: Path) -> None:
    """Remove what killed processes left."""
    for path in folder.glob("*.lock"):
        remove_free(path)
