"""Lines that say how far a training is and when it will be done."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO


@dataclass(kw_only=True)
class Progress:
    """Prints at most one line in `interval` seconds, and one at the end.

    label: what is going on.
    total: steps in all.
    start: steps done before this run, which took none of its time.
    """

    label: str
    total: int
    start: int = 0
    interval: float = 15.0
    stream: TextIO | None = None
    _started: float = field(default_factory=time.monotonic, init=False)
    _printed: float = field(default_factory=time.monotonic, init=False)

    def at(self, done: int, note: str = "") -> None:
        """`done` steps are finished."""
        now = time.monotonic()
        if done < self.total and now - self._printed < self.interval:
            return
        self._printed = now
        spent = now - self._started
        left = spent * (self.total - done) / max(done - self.start, 1)
        line = f"{self.label}: {done}/{self.total}, {_clock(spent)} spent, {_clock(left)} left"
        print(f"{line}, {note}" if note else line, file=self.stream or sys.stdout, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
