"""Collects what became of every cell, and turns it into the run's exit code."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from iqa_robustness.errors import ExitCode, IqaRobustnessError
from iqa_robustness.plugin.devices import is_device_fault, note_lost_device
from iqa_robustness.plugin.session import robustness_session, started
from iqa_robustness.reporting.commands import reproduce_command

if TYPE_CHECKING:
    from iqa_robustness.gate.worst_case import WorstCase

# How a test says what it thinks of a cell; any other exception means that there is nothing to think about.
_JUDGEMENTS = (AssertionError, pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception)
# Of a cell, as an outcome has them.
AXES = ("metric", "defense", "attack", "strength", "scenario", "goal", "source")
_ERROR = "iqa_configuration_error"
_LEFT_OUT = "iqa_left_out"
_NOTES = "iqa_notes"


def is_worker(config: pytest.Config) -> bool:
    """Whether this session is that of a pytest-xdist worker.

    Not read from the environment: a pytest that a worker's test starts inherits that and is no worker.
    """
    return hasattr(config, "workerinput")


class Outcomes:
    """One per process that reports (the controller, or a run without workers).

    cells: outcome of every judged or broken cell, by its name.
    other_failures: failed reports of tests without a cell.
    configuration_error: what a worker could not start with.
    store_error: why the store could not be read at the end of the run.
    not_applicable: items skipped since their cell has no meaning.
    lost: node ids of items whose worker ended while it ran them.
    not_run: node ids of items that no worker was left for.
    worst_cases: over the attacks of the run, known at its end.
    """

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, Any]] = {}
        self.other_failures = 0
        self.lost: list[str] = []
        self.not_run: list[str] = []
        self.configuration_error = ""
        self.store_error = ""
        self.not_applicable = 0
        self.worst_cases: list[WorstCase] = []

    @property
    def started(self) -> bool:
        """Whether a suite took part in the run."""
        return bool(self.cells or self.not_run or self.configuration_error)

    def add(self, report: pytest.TestReport) -> None:
        """Take in one report of an item's setup, call or teardown."""
        found: dict[str, Any] | None = getattr(report, "iqa", None)
        if str(report.when) == "???":  # pytest-xdist's mark of a crashed worker
            self.lost.append(report.nodeid)
        if found is not None:
            found["outcome"] = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            found["nodeid"] = report.nodeid
            self.cells[found["name"]] = found
        elif hasattr(report, "iqa_not_applicable"):
            self.not_applicable += 1
        elif report.failed and str(report.when) != "???":
            self.other_failures += 1

    def exit_code(self) -> ExitCode:
        """1 before 13 before 12 before 11 before 10; 0 when every cell is green or a declared weakness."""
        from iqa_robustness.gate.verdict import PRECEDENCE

        if self.configuration_error:
            return ExitCode.CONFIGURATION
        codes = {ExitCode(cell["exit_code"]) for cell in self._consequential()}
        if self.other_failures:
            codes.add(ExitCode.FAIL)
        if self.lost or self.store_error:
            codes.add(ExitCode.INFRASTRUCTURE)
        if self.not_run:
            codes.add(ExitCode.MISSING)
        if ExitCode.CONFIGURATION in codes:
            return ExitCode.CONFIGURATION
        return next((code for code in PRECEDENCE if code in codes), ExitCode.PASS)

    def _consequential(self) -> Iterable[dict[str, Any]]:
        """Cells whose item failed: a control that is meant to be red, and whose test says so, does not count."""
        return (cell for cell in self.cells.values() if cell["outcome"] == "failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the outcome of a cell along with its report; say errors of ours without the harness' stack."""
    report = yield
    if item.get_closest_marker("iqa_cells") is None:
        return report
    from iqa_robustness.plugin.judging import NOT_APPLICABLE, OUTCOME

    error = call.excinfo.value if call.excinfo else None
    if error is not None:
        note_lost_device(item, error)
    if isinstance(error, IqaRobustnessError):
        report.longrepr = f"{type(error).__name__}: {error}"
        _attach(report, _broken(item, error))
    elif call.when == "call" and NOT_APPLICABLE in item.stash:
        vars(report)["iqa_not_applicable"] = True
    elif call.when == "call":
        found = item.stash.get(OUTCOME, None)
        if found is None and error is not None and not isinstance(error, _JUDGEMENTS):
            _attach(report, _broken(item, error))  # the metric's own exception; its stack is what its author needs
        elif found is not None:
            if report.failed and found["exit_code"] == ExitCode.PASS:
                found["exit_code"] = int(ExitCode.FAIL)  # the test's own assertion failed
            _attach(report, found)
    return report


def _attach(report: pytest.TestReport, found: dict[str, Any]) -> None:
    """An attribute of a report travels from a worker to the controller with it."""
    vars(report)["iqa"] = found


def _broken(item: pytest.Item, error: BaseException) -> dict[str, Any]:
    code, what = ExitCode.MISSING, str(error)
    if isinstance(error, IqaRobustnessError):
        code, what = error.exit_code, error.what
    elif is_device_fault(error):
        code = ExitCode.INFRASTRUCTURE
    cell = robustness_session(item.config).cells[item.callspec.params["cell"]]  # type: ignore[attr-defined]
    axes = {axis: getattr(cell, axis) for axis in AXES}
    reason, command = f"{type(error).__name__}: {what}", reproduce_command(item.nodeid, item.config)
    return missing_outcome(cell.name, cell.id, axes, code=code, reason=reason, command=command)


def missing_outcome(
    name: str, id_: str, axes: dict[str, str], *, code: ExitCode, reason: str, command: str
) -> dict[str, Any]:
    """The outcome of a cell that there are no numbers of; keys as of `judging.outcome`.

    Args:
        name, id_: of the cell.
        axes: its names, by `AXES`.
        code: what it makes of the run.
        reason: why.
        command: that runs it again.
    """
    return {
        "name": name,
        "id": id_,
        **axes,
        "status": "missing",
        "expected": False,
        "weakness": "",
        "waiver_expired": False,
        "tier": "critical",
        "exit_code": int(code),
        "reasons": [reason],
        "measures": {},
        "notes": {},
        "gains": {},
        "mixtures": [],
        "checks": {},
        "images": 0,
        "mos_kind": "",
        "dataset": {},
        "numerics": {},
        "protocol": {},
        "budget": {},
        "certificate": {},
        "sources": {},
        "record": "",
        "computed": False,
        "repaired": [],
        "seconds": 0.0,
        "cost": {},
        "command": command,
    }


def send_collection(config: pytest.Config) -> None:
    """From a worker: what it could not start with, what it deselected, and which metrics it left out."""
    if not started(config):
        return
    session = robustness_session(config)
    output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
    output[_NOTES] = session.notes
    output[_LEFT_OUT] = session.left_out
    if session.error is not None:
        output[_ERROR] = str(session.error)


def received_notes(node: Any) -> list[str]:
    """On the controller: what a worker deselected, and why; the same for all workers."""
    return [*_received(node, _NOTES, [])]


def received_left_out(node: Any) -> dict[str, str]:
    """On the controller: which metrics a worker left out, and why."""
    return dict(_received(node, _LEFT_OUT, {}))


def received_configuration_error(node: Any) -> str:
    """On the controller: what a worker could not start with, empty if it could."""
    return str(_received(node, _ERROR, ""))


def _received(node: Any, key: str, absent: object) -> Any:
    """What a worker sent at its end; a worker that crashed sent nothing."""
    return getattr(node, "workeroutput", {}).get(key, absent)
