"""The controller of a run with workers: hears what items are, hands them out, and answers for workers that are lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from iqa_robustness.errors import ConfigurationError, ExitCode, IqaRobustnessError
from iqa_robustness.plugin import options
from iqa_robustness.plugin.announcement import CHANNEL, Announced, unpacked
from iqa_robustness.plugin.devices import REPLACED
from iqa_robustness.plugin.outcomes import Outcomes, missing_outcome
from iqa_robustness.plugin.scheduler import CellScheduling
from iqa_robustness.plugin.session import SECONDS_LEFT, RobustnessSession
from iqa_robustness.reporting.commands import reproduce_command


def has_workers(config: pytest.Config) -> bool:
    """Whether this process is the controller of pytest-xdist workers."""
    return bool(config.getoption("dist", "no") != "no" and config.getoption("tx", []) and not config.option.collectonly)


class Distribution:
    """Registered on a controller. `--dist load`, which `-n` stands for, becomes `CellScheduling` where a suite runs.

    Who asks for another mode, or brings a scheduler of their own, gets it.

    Args:
        session: of this process.
        outcomes: of the run; gets what no worker was left for.
        expected: gets the seconds that each cell will take, by its name, once they are known.
    """

    def __init__(self, session: RobustnessSession, outcomes: Outcomes, expected: dict[str, float]) -> None:
        self.session = session
        self.outcomes = outcomes
        self.expected = expected
        self.announced: list[Announced | None] = []
        self.scheduling: CellScheduling | None = None
        self._cells: dict[str, Announced] = {}
        self._channels: list[Any] = []
        self._ours = False

    def pytest_configure_node(self, node: Any) -> None:
        """Listen to a worker that is about to start."""
        channel = node.gateway.newchannel()
        channel.setcallback(self._hear)
        self._channels.append(channel)  # closed when nobody holds it
        node.workerinput[CHANNEL] = channel
        node.workerinput[REPLACED] = self.session.config.getoption("dist") == "load"
        with contextlib.suppress(ConfigurationError):  # the worker will say it
            if self.session.deadline is not None:
                node.workerinput[SECONDS_LEFT] = max(self.session.deadline - time.monotonic(), 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> Generator[None, Any, Any]:
        """Ours in the place of the plain one."""
        from xdist.scheduler import LoadScheduling
        from xdist.workermanage import parse_tx_spec_config

        usual = yield
        if type(usual) is not LoadScheduling:
            return usual
        self._ours = True
        own = CellScheduling(len(parse_tx_spec_config(config)), self._units, self._report_difference)
        return _Choice(usual, own, self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """What was announced belongs to these ids."""
        del node
        if not self._cells and self.announced and not self._ours:
            mode = self.session.config.getoption("dist")
            self._say(
                f"--dist={mode} hands cells out by its own rules: what shares work may be apart, and lost workers may "
                "take more than one cell with them; leave it out"
            )
        self._cells = {id_: cell for id_, cell in zip(ids, self.announced, strict=False) if cell is not None}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A worker begins an item."""
        if self.scheduling is not None:
            self.scheduling.started(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A worker has reported an item."""
        if self.scheduling is not None:
            self.scheduling.finished(nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A worker was lost with an item: a missing cell, a failure that counts, and a result in every report."""
        cell = self._cells.get(crashitem)
        if cell is None:
            return
        report.outcome = "failed"  # whoever wants it run again does not get it passed over
        command = reproduce_command(crashitem, self.session.config)
        reason = str(report.longrepr)
        report.longrepr = (
            f"missing: {cell.name}\n  {reason}\n"
            f"  what to do: run it alone, its output and memory are seen then: {command} -s"
        )
        vars(report)["iqa"] = missing_outcome(
            cell.name, cell.id, cell.axes, code=ExitCode.INFRASTRUCTURE, reason=reason, command=command
        )
        folder = self.session.config.getoption("allure_report_dir", default=None)
        if folder:
            from iqa_robustness.reporting.allure_crashes import write_crash

            write_crash(folder, crashitem, str(report.longrepr), worker=report.node.gateway.id, **_shown(cell))
        self._count_failure()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """What is left when workers are not."""
        dsession = self.session.config.pluginmanager.getplugin("dsession")
        if self.scheduling is not None and not dsession.shouldstop:
            self.outcomes.not_run = self.scheduling.not_run

    def _say(self, text: str) -> None:
        reporter = self.session.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"iqa-robustness: {text}", yellow=True)

    def _hear(self, text: str) -> None:
        self.announced = self.announced or unpacked(text)

    def _count_failure(self) -> None:
        """`-x` and `--maxfail` do not hear of crashes by themselves."""
        dsession = self.session.config.pluginmanager.getplugin("dsession")
        dsession.countfailures += 1
        if dsession.maxfail and dsession.countfailures >= dsession.maxfail and not dsession.shouldstop:
            dsession.shouldstop = f"stopping after {dsession.countfailures} failures"

    def _units(self, collection: Sequence[str]) -> list[list[tuple[int, float]]]:
        """Cells by group; other items by class or module, after them."""
        seconds = self._seconds()
        self.expected.update(seconds)
        units: dict[object, list[tuple[int, float]]] = {}
        for number, (nodeid, cell) in enumerate(zip(collection, self.announced, strict=True)):
            if cell is None:
                units.setdefault(nodeid.rpartition("::")[0], []).append((number, 0.0))
            else:
                units.setdefault(cell.group, []).append((number, seconds[cell.name]))
        return [*units.values()]

    def _seconds(self) -> dict[str, float]:
        """Of every cell, by name."""
        from iqa_robustness.bench.durations import expected_seconds, recorded_seconds
        from iqa_robustness.store import Store

        weights = {cell.name: cell.weight for cell in self.announced if cell is not None}
        try:
            judges = options.flag(self.session.config, "from-store")  # takes the same time for every cell
            recorded = {} if judges else recorded_seconds(Store(self.session.store_url, read_only=True))
        except (IqaRobustnessError, OSError):
            recorded = {}  # whoever computes will say what is wrong with the store
        return expected_seconds(weights, recorded)

    def _report_difference(self, expected: Sequence[str], found: Sequence[str], first: Any, other: Any) -> None:
        from xdist.report import report_collection_diff

        text = report_collection_diff(expected, found, first.gateway.id, other.gateway.id)
        report = pytest.CollectReport(nodeid=other.gateway.id, outcome="failed", longrepr=text, result=[])
        self.session.config.hook.pytest_collectreport(report=report)


class _Choice:
    """Two schedulers until the first workers have collected; from then on the one of the two that fits.

    Args:
        usual: of pytest-xdist.
        own: for runs with cells.
        distribution: knows whether there are any.
    """

    def __init__(self, usual: Any, own: CellScheduling, distribution: Distribution) -> None:
        self._both = (usual, own)
        self._distribution = distribution
        self._chosen: Any = None

    def __getattr__(self, name: str) -> Any:
        # Everything else that pytest-xdist asks for: a property of the scheduler, or what it is told from then on.
        return getattr(self._chosen or self._both[0], name)

    def add_node(self, node: Any) -> None:
        for scheduling in self._asked:
            scheduling.add_node(node)

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        for scheduling in self._asked:
            scheduling.add_node_collection(node, collection)
        if self._chosen is None and self._both[0].collection_is_completed:
            usual, own = self._both
            self._chosen = own if self._distribution.announced else usual
            self._distribution.scheduling = own if self._distribution.announced else None

    def remove_node(self, node: Any) -> str | None:
        *others, last = self._asked
        for scheduling in others:
            scheduling.remove_node(node)
        removed: str | None = last.remove_node(node)
        return removed

    @property
    def _asked(self) -> tuple[Any, ...]:
        return self._both if self._chosen is None else (self._chosen,)


def _shown(cell: Announced) -> dict[str, str]:
    """What a result of Allure says of the cell."""
    return {
        "cell": cell.name,
        "title": cell.id,
        **{axis: cell.axes[axis] for axis in ("metric", "defense", "scenario")},
    }
