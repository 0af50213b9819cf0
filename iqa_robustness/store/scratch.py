"""Folders for what is being written: named by host and process, so that what a dead process left can be told."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import sys
import uuid
from pathlib import Path

# The access right of Windows that is enough to ask whether a process runs.
_SYNCHRONIZE = 0x00100000


def new_scratch(folder: Path) -> Path:
    """A new folder of this process. Raises OSError."""
    place = folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    place.mkdir(parents=True)
    return place


def in_use(place: Path) -> bool | None:
    """Whether the process that made the folder still runs; None for another host's, of which nobody here knows."""
    # Whole names: host `node` must not touch what host `node-1` is about to finish.
    own = re.fullmatch(rf"{re.escape(socket.gethostname())}-(\d{{1,9}})-[0-9a-f]{{8}}", place.name)
    return _alive(int(own[1])) if own else None


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this host that no longer run left unfinished."""
    for place in folder.glob("*"):
        if in_use(place) is False:
            shutil.rmtree(place, ignore_errors=True)


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
