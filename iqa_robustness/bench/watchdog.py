"""Stops a cell that takes too long, also where Python cannot interrupt it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from iqa_robustness.errors import CellTimeoutError, ExitCode

# A metric that hangs inside a C call never sees the interrupt; after this many more seconds the process ends.
GRACE = 10.0


@contextlib.contextmanager
def time_limit(seconds: float | None, *, cell: str) -> Iterator[None]:
    """Raise CellTimeoutError in the block after `seconds`; None or 0 for no limit.

    Where the interrupt is not heard within `GRACE` seconds (a hang in compiled code), the message goes to stderr and
    the process exits with the code for missing cells: a pytest-xdist worker is then replaced and its cell reported
    lost, a run without workers ends. Works in the main thread; elsewhere only the exit remains.
    A limit around this one (an outer block, pytest-timeout) goes on afterwards; its clock does not stop.
    """
    if not seconds:
        yield
        return
    message = f"cell {cell} ran longer than {seconds:g} s"
    last_resort = threading.Timer(seconds + GRACE, _give_up, args=(message,))
    last_resort.daemon = True
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise CellTimeoutError(
            message, fix="look for an endless loop in the metric, or raise --iqa-cell-timeout for slow cells"
        )

    started = time.monotonic()
    outer = signal.setitimer(signal.ITIMER_REAL, 0)[0] if main else 0.0
    previous = signal.signal(signal.SIGALRM, interrupt) if main else None
    last_resort.start()
    try:
        if main:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        # First: the outer limit may ring as soon as it is set again, and nothing after that is reached.
        last_resort.cancel()
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)
            if outer:
                signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - started), 1e-3))


def _give_up(message: str) -> None:
    sys.stderr.write(
        f"\nCellTimeoutError: {message}, and did not react to being interrupted\n"
        "  what to do: look for a hang in compiled code (a deadlock, a blocking read); run it without the harness\n"
    )
    sys.stderr.flush()
    os._exit(ExitCode.MISSING)
