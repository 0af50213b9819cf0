"""Folders for what is being written: named by host and process, so that what a dead process left can be told."""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
from pathlib import Path


def new_scratch(folder: Path) -> Path:
    """A new folder of this process. Raises OSError."""
    place = folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    place.mkdir(parents=True)
    return place


def abandoned(folder: Path) -> list[Path]:
    """What processes of this host that no longer run left unfinished."""
    # Whole names: host `node` must not touch what host `node-1` is about to finish.
    own = re.compile(rf"{re.escape(socket.gethostname())}-(\d{{1,9}})-[0-9a-f]{{8}}")
    named = ((place, own.fullmatch(place.name)) for place in folder.glob("*"))
    return [place for place, name in named if name and not _alive(int(name[1]))]


def remove_abandoned(folder: Path) -> None:
    """Remove it."""
    for place in abandoned(folder):
        shutil.rmtree(place, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
