"""What this process takes of the machine's memory, as Linux tells it; other systems do not."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
# Writing 5 there makes the peak what is resident now.
_RESTART = Path("/proc/self/clear_refs")


def resident_mebibytes() -> float | None:
    """MiB in memory now, libraries included; None where the system does not tell."""
    return _field("VmRSS")


def peak_mebibytes() -> float | None:
    """The most MiB that were in memory at once, since the process began or `restart_peak`; None as above."""
    return _field("VmHWM")


def restart_peak() -> float | None:
    """Give back what is free and count the peak anew. MiB in memory then; None where the system cannot."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # glibc's alone: what it keeps would hide what comes next
            ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESTART.write_text("5", encoding="ascii")
    except OSError:
        return None
    return resident_mebibytes()


def _field(name: str) -> float | None:
    """Of `/proc/self/status`, in MiB."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)
