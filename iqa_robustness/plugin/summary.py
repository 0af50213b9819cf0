"""The controller's end of a run: exit code, terminal summary, report files."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iqa_robustness.errors import ExitCode, TimeSpentError
from iqa_robustness.plugin.outcomes import (
    Outcomes,
    received_configuration_error,
    received_left_out,
    received_notes,
)
from iqa_robustness.plugin.session import RobustnessSession
from iqa_robustness.reporting.spoken_time import spoken_time

if TYPE_CHECKING:
    from iqa_robustness.reporting.gallery import Gallery

_OWN_CODES = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_PULSE = 30.0


class Summary:
    """Registered where reports arrive: the controller, or a run without workers.

    `expected` is what each cell will cost, by its name, in any unit; whoever knows fills it in.

    Args:
        session: of this process.
    """

    def __init__(self, session: RobustnessSession) -> None:
        self.session = session
        self.outcomes = Outcomes()
        self.written: list[Path] = []
        self.expected: dict[str, float] = {}
        self._began = self._last_pulse = time.monotonic()
        self._total = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what is to come, for the estimate."""
        self._total = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        """With workers, they collect."""
        del node
        self._total = len(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a report; every half minute, say how far the run is."""
        self.outcomes.add(report)
        if report.when != "teardown" or not self.outcomes.cells:
            return
        now, done = time.monotonic(), len(self.outcomes.cells)
        if now - self._last_pulse < _PULSE or done >= self._total:
            return
        self._last_pulse = now
        left = spoken_time((now - self._began) * (1 / self._part_done() - 1))
        reporter = self.session.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\niqa-robustness: {done} of {self._total} cells, about {left} left")

    def _part_done(self) -> float:
        """Of the whole run, 0 to 1: by cost where it is known, since the dearest cells come first, else by number."""
        spent = sum(self.expected.get(name, 0.0) for name in self.outcomes.cells)
        whole = sum(self.expected.values())
        return spent / whole if 0 < spent < whole else len(self.outcomes.cells) / self._total

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """A worker is done: hear whether it could start at all, and what it left out."""
        del error
        self.outcomes.configuration_error = self.outcomes.configuration_error or received_configuration_error(node)
        self.session.left_out |= received_left_out(node)
        self.session.notes = self.session.notes or received_notes(node)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Set the exit code and write the reports."""
        if not self.outcomes.started:
            if self.outcomes.not_applicable and self.outcomes.not_applicable == self._total:
                session.exitstatus = ExitCode.NOTHING_SELECTED  # nothing was judged, so nothing is green
            return
        code = self.outcomes.exit_code()
        if session.exitstatus in _OWN_CODES and (code != ExitCode.PASS or self.outcomes.cells):
            session.exitstatus = code
        if self.outcomes.cells:
            from iqa_robustness.reporting.run import write_reports

            allure_folder = session.config.getoption("allure_report_dir", default=None)
            self.written = write_reports(
                [*self.outcomes.cells.values()],
                self.session.facts,
                self.session.reports,
                worst_cases=self.outcomes.worst_cases,
                gallery=self._gallery(),
                allure_folder=Path(allure_folder) if allure_folder else None,
            )
            if not self.outcomes.store_error:
                self._write_verdict(int(session.exitstatus))

    def _shortfalls(self) -> list[str]:
        """What time or memory did not suffice for."""
        cells, lines = [*self.outcomes.cells.values()], []
        late = sum(any(reason.startswith(TimeSpentError.__name__) for reason in cell["reasons"]) for cell in cells)
        if late:
            command = shlex.join(["pytest", *map(str, self.session.config.invocation_params.args)])
            lines.append(f"{late} cells were not begun, the time is spent; this goes on where it stopped: {command}")
        asked = self.session.micro_batch
        small = sorted({cell["numerics"]["micro_batch"] for cell in cells if cell["numerics"]} - {asked})
        for size in small:
            count = sum(bool(cell["numerics"]) and cell["numerics"]["micro_batch"] == size for cell in cells)
            lines.append(f"{count} cells have a micro-batch of {size}: memory did not suffice for {asked}")
        return lines

    def _gallery(self) -> Gallery | None:
        """Pictures of the cells that need a look; None with `--iqa-attachments none`."""
        if self.session.attachments == "none" or self.outcomes.store_error:
            return None
        from iqa_robustness.reporting.triptychs import gallery

        return gallery([*self.outcomes.cells.values()], self.session.open_store(read_only=True))

    def _write_verdict(self, exit_code: int) -> None:
        from iqa_robustness.reporting.verdict_file import Circumstances, write_verdict

        circumstances = Circumstances(
            thresholds=self.session.thresholds,
            today=self.session.today.isoformat(),
            baseline=self.session.baseline_url,
            exit_code=exit_code,
        )
        store = self.session.open_store(read_only=True)
        write_verdict([*self.outcomes.cells.values()], store, circumstances, self.session.reports / "verdict.json")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what was left out, the table (metric × defense, worst attack, what decided), what does not apply."""
        if not (self.outcomes.started or self.session.left_out or self.session.notes):
            return
        terminalreporter.section("image-quality robustness")
        for metric, reason in sorted(self.session.left_out.items()):
            terminalreporter.write_line(f"left out: {metric}: {reason}", yellow=True)
        for error in (self.outcomes.configuration_error, self.outcomes.store_error):
            if error:
                terminalreporter.write_line(f"ERROR: {error}", red=True)
        if self.outcomes.started:
            from iqa_robustness.reporting.table import summary_lines

            for line in summary_lines(
                [*self.outcomes.cells.values()], lost=self.outcomes.lost, not_run=self.outcomes.not_run
            ):
                terminalreporter.write_line(line)
        for note in [*self.session.notes, *self._shortfalls()]:
            terminalreporter.write_line(note)
        for path in self.written:
            terminalreporter.write_line(f"written: {path}")
