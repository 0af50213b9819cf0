"""Lines of progress: how many, and what their clocks say."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from iqa_robustness.training import progress as module
from iqa_robustness.training.progress import Progress


class Clock:
    """Stands still until a test sets it forward; progress that is made with it starts at zero."""

    def __init__(self) -> None:
        self.now = 0.0

    def progress(self, **fields: Any) -> Progress:
        made = Progress(**fields)
        made._started = made._printed = self.now
        return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_only_the_end_is_printed_when_all_is_done_soon(clock: Clock, stream: io.StringIO) -> None:
    progress = clock.progress(label="steps", total=50, stream=stream)
    for done in range(1, 51):
        progress.at(done)
    assert stream.getvalue() == "steps: 50/50, 0:00 spent, 0:00 left\n"


def test_at_most_one_line_in_an_interval(clock: Clock, stream: io.StringIO) -> None:
    progress = clock.progress(label="steps", total=1000, interval=10, stream=stream)
    for done in range(1, 101):
        clock.now += 1
        progress.at(done)
    printed = [line.split(",")[0] for line in stream.getvalue().splitlines()]
    assert printed == [f"steps: {done}/1000" for done in range(10, 101, 10)]


def test_the_time_left_is_in_proportion_to_what_is_left(clock: Clock, stream: io.StringIO) -> None:
    progress = clock.progress(label="features", total=40, stream=stream)
    clock.now = 65
    progress.at(10, "loss 0.5")
    clock.now = 3600
    progress.at(20)
    assert stream.getvalue().splitlines() == [
        "features: 10/40, 1:05 spent, 3:15 left, loss 0.5",
        "features: 20/40, 60:00 spent, 60:00 left",
    ]


def test_nothing_done_yet_divides_by_nothing(clock: Clock, stream: io.StringIO) -> None:
    progress = clock.progress(label="steps", total=3, stream=stream)
    clock.now = 20
    progress.at(0)
    assert stream.getvalue() == "steps: 0/3, 0:20 spent, 1:00 left\n"


def test_steps_done_before_do_not_make_it_look_faster(clock: Clock, stream: io.StringIO) -> None:
    progress = clock.progress(label="steps", total=100, start=80, stream=stream)
    clock.now = 30
    progress.at(85)
    assert stream.getvalue() == "steps: 85/100, 0:30 spent, 1:30 left\n"


def test_lines_go_to_standard_output_of_the_moment(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    clock.progress(label="steps", total=1).at(1, "done")
    assert capsys.readouterr().out == "steps: 1/1, 0:00 spent, 0:00 left, done\n"


def test_the_clock_runs_from_the_start_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(label="steps", total=2)
    progress._started -= 120
    progress.at(1)
    assert capsys.readouterr().out == "", "the last line is not old enough"
    progress._printed -= 15
    progress.at(1)
    assert capsys.readouterr().out.startswith("steps: 1/2, 2:0")
