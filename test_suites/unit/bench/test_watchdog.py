"""The watchdog: hangs in Python are interrupted, hangs in compiled code end the process, nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from iqa_robustness.bench import watchdog
from iqa_robustness.bench.watchdog import time_limit
from iqa_robustness.errors import CellTimeoutError, ExitCode


class Alarm(Exception):
    """What the handler of somebody else raises."""


def ring(_signum: int, _frame: object) -> None:
    raise Alarm


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's, where it is in use
    handler, threads = signal.signal(signal.SIGALRM, ring), threading.active_count()
    yield
    left, found = signal.setitimer(signal.ITIMER_REAL, 0)[0], signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, remaining)
    assert left == 0
    assert found is ring
    time.sleep(0.02)
    assert threading.active_count() <= threads


def spin(seconds: float) -> None:
    """Keep Python busy: a loop, not a sleep."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# --- hangs in Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hang", [spin, time.sleep], ids=["loop", "sleep"])
def test_a_hang_in_python_is_stopped_and_named(hang: object) -> None:
    started = time.monotonic()
    with (
        pytest.raises(CellTimeoutError, match=r"cell x/y ran longer than 0\.1 s") as caught,
        time_limit(0.1, cell="x/y"),
    ):
        hang(30)  # type: ignore[operator]
    assert 0.09 < time.monotonic() - started < 5
    assert "--iqa-cell-timeout" in caught.value.fix
    assert caught.value.exit_code == ExitCode.MISSING


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(0.15, cell="x"):
        spin(0.02)
    spin(0.2)  # nothing rings afterwards


def test_an_error_of_the_cell_stays_its_own() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(5, cell="x"):
        _ = 1 / 0


@pytest.mark.parametrize("seconds", [0, 0.0, None])
def test_zero_and_none_are_no_limit(seconds: float | None) -> None:
    with time_limit(seconds, cell="x"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        assert signal.getsignal(signal.SIGALRM) is ring


# --- limits around limits -------------------------------------------------------------------------------------------


def test_the_handler_of_somebody_else_is_restored_after_success_and_after_a_timeout() -> None:
    with time_limit(5, cell="x"):
        assert signal.getsignal(signal.SIGALRM) is not ring
    assert signal.getsignal(signal.SIGALRM) is ring
    with pytest.raises(CellTimeoutError), time_limit(0.05, cell="x"):
        spin(30)
    assert signal.getsignal(signal.SIGALRM) is ring


def test_the_timer_of_somebody_else_goes_on_and_its_clock_did_not_stop() -> None:
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with time_limit(5, cell="x"):
        spin(0.1)
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.2
    with pytest.raises(Alarm):
        spin(30)
    assert 0.25 < time.monotonic() - started < 5


def test_a_timer_that_ran_out_meanwhile_rings_at_once() -> None:
    inside: list[float] = []

    def guarded_block() -> None:
        with time_limit(5, cell="x"):
            spin(0.8)
            inside.append(time.monotonic())
        spin(5)

    signal.setitimer(signal.ITIMER_REAL, 0.5)
    # It may ring on the way out of the block already.
    with pytest.raises(Alarm):
        guarded_block()
    assert time.monotonic() - inside[0] < 2


def test_an_inner_limit_ends_before_the_outer_and_leaves_it_in_force() -> None:
    def cell_in_a_cell() -> None:
        with pytest.raises(CellTimeoutError, match="cell inner"), time_limit(0.1, cell="inner"):
            spin(30)
        spin(30)

    with pytest.raises(CellTimeoutError, match="cell outer"), time_limit(0.4, cell="outer"):
        cell_in_a_cell()


def test_outside_of_the_main_thread_nothing_is_interrupted_and_no_handler_touched() -> None:
    found = []

    def work() -> None:
        with time_limit(0.05, cell="x"):
            time.sleep(0.15)
        found.append(signal.getsignal(signal.SIGALRM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == [signal.getsignal(signal.SIGALRM)]


def test_the_last_resort_comes_a_grace_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rung = threading.Event()
    messages = []
    monkeypatch.setattr(watchdog, "GRACE", 0.05)
    monkeypatch.setattr(watchdog, "_give_up", lambda message: (messages.append(message), rung.set()))
    # In a thread the interrupt does not exist; what remains is the last resort.
    thread = threading.Thread(target=lambda: hang_with_limit(rung))
    thread.start()
    thread.join(10)
    assert messages == ["cell x ran longer than 0.05 s"]


def hang_with_limit(until: threading.Event) -> None:
    with time_limit(0.05, cell="x"):
        until.wait(10)


# --- hangs in compiled code -----------------------------------------------------------------------------------------

HANG = """
    import ctypes, time
    from iqa_robustness.bench import watchdog

    watchdog.GRACE = 0.3
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    with watchdog.time_limit(0.3, cell="clean:compact/flip"):
        print("hanging", flush=True)
        # A deadlock of one thread with itself: the signal arrives, but no line of Python is reached any more.
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)
    print("came back", flush=True)
"""


def test_a_hang_in_compiled_code_ends_the_process_with_the_code_of_missing_cells() -> None:
    command = [sys.executable, "-c", textwrap.dedent(HANG)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.MISSING == 12
    assert done.stdout == "hanging\n"
    lines = done.stderr.strip().splitlines()
    assert lines == [
        "CellTimeoutError: cell clean:compact/flip ran longer than 0.3 s, and did not react to being interrupted",
        "  what to do: look for a hang in compiled code (a deadlock, a blocking read); run it without the harness",
    ]
