"""How long something takes, as people say it."""

from __future__ import annotations


def spoken_time(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`; a dash where nothing is known."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
