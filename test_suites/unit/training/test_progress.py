"""Lines of progress: how many, and what their clocks say."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest

from iqa_robustness.training import progress as module
from iqa_robustness.training.progress import Progress


class Clock:
    """The real clock, which a test sets forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_only_the_end_is_printed_when_all_is_done_soon(stream: io.StringIO) -> None:
    progress = Progress(label="steps", total=50, stream=stream)
    for done in range(1, 51):
        progress.at(done)
    assert stream.getvalue() == "steps: 50/50, 0:00 spent, 0:00 left\n"


def test_at_most_one_line_in_an_interval(clock: Clock, stream: io.StringIO) -> None:
    progress = Progress(label="steps", total=1000, interval=10, stream=stream)
    for done in range(1, 101):
        clock.ahead += 1
        progress.at(done)
    printed = [line.split(",")[0] for line in stream.getvalue().splitlines()]
    assert printed == [f"steps: {done}/1000" for done in range(10, 101, 10)]


def test_the_time_left_is_in_proportion_to_what_is_left(clock: Clock, stream: io.StringIO) -> None:
    progress = Progress(label="features", total=40, stream=stream)
    clock.ahead = 65
    progress.at(10, "loss 0.5")
    clock.ahead = 3600
    progress.at(20)
    assert stream.getvalue().splitlines() == [
        "features: 10/40, 1:05 spent, 3:15 left, loss 0.5",
        "features: 20/40, 60:00 spent, 60:00 left",
    ]


def test_nothing_done_yet_divides_by_nothing(clock: Clock, stream: io.StringIO) -> None:
    progress = Progress(label="steps", total=3, stream=stream)
    clock.ahead = 20
    progress.at(0)
    assert stream.getvalue() == "steps: 0/3, 0:20 spent, 1:00 left\n"


def test_lines_go_to_standard_output_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(label="steps", total=1).at(1, "done")
    assert capsys.readouterr().out == "steps: 1/1, 0:00 spent, 0:00 left, done\n"
