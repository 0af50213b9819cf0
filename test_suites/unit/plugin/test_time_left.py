"""What a run says of the time it has left, where the dearest cells come first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from iqa_robustness.plugin import summary as module
from iqa_robustness.plugin.summary import Summary


class Run:
    """A summary with a clock of its own, and what it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        reporter = SimpleNamespace(write_line=lambda text: self.lines.append(text.strip()))
        plugins = SimpleNamespace(getplugin={"terminalreporter": reporter}.get)
        session: Any = SimpleNamespace(config=SimpleNamespace(pluginmanager=plugins))
        self.summary = Summary(session)
        self.cells: dict[str, Any] = {}
        self.summary.outcomes = SimpleNamespace(cells=self.cells, add=lambda _: None)  # type: ignore[assignment]
        self.summary.pytest_collection_finish(SimpleNamespace(items=range(total)))  # type: ignore[arg-type]

    def finished(self, name: str, *, after: float) -> None:
        self.now += after
        self.cells[name] = {}
        self.summary.pytest_runtest_logreport(SimpleNamespace(when="teardown"))  # type: ignore[arg-type]


def test_cells_count_by_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, total=10)
    run.summary.expected.update({"dear": 60.0} | {f"cheap-{number}": 5.0 for number in range(9)})
    run.finished("dear", after=120)
    # 60 of 105 took two minutes; by number, nine tenths would be left, which is 18 minutes.
    assert run.lines == ["iqa-robustness: 1 of 10 cells, about 2 min left"]
    run.finished("cheap-0", after=10)
    assert len(run.lines) == 1, "not every cell is worth a line"
    run.finished("cheap-1", after=20)
    assert run.lines[1] == "iqa-robustness: 3 of 10 cells, about 75 s left"


def test_where_no_cost_is_known_they_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, total=4)
    run.finished("one", after=60)
    assert run.lines == ["iqa-robustness: 1 of 4 cells, about 3 min left"]


def test_what_was_not_expected_does_not_end_in_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, total=4)
    run.summary.expected.update({"one": 5.0})
    run.finished("one", after=60)
    assert run.lines == ["iqa-robustness: 1 of 4 cells, about 3 min left"], "all that was expected is done"
    run.cells.clear()
    run.finished("another", after=60)
    assert run.lines[1] == "iqa-robustness: 1 of 4 cells, about 6 min left"


def test_the_last_cell_needs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, total=1)
    run.finished("one", after=600)
    assert run.lines == []
