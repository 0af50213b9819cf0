"""Runs with `--iqa-plan`: items are collected and selected as ever, then the plan is printed and nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.plugin import options
from iqa_robustness.plugin.distribution import has_workers
from iqa_robustness.plugin.session import RobustnessSession, robustness_session

PLAN = "iqa_robustness_plan"
"""The name of the plugin that is there when a plan is asked for."""
_QUIET = -2


def is_asked(config: pytest.Config) -> bool:
    """Whether there is to be a plan. Raises UsageError where the ini file asks for one in an unknown form."""
    form = options.value(config, "plan")
    known = next(option.forms for option in options.OPTIONS if option.name == "plan")
    if form and form not in known:
        raise pytest.UsageError(f"iqa_plan = {form}: write one of {', '.join(known)}, or leave it out")
    return bool(form) and not config.option.collectonly


class PlanRun:
    """Takes the place of the run, and of everything that listens to one.

    Workers are counted and not started. Reports that pytest and allure-pytest would write about no test at all are not
    written: those of an earlier run stay.

    Args:
        config: of the run, before other plugins have looked at it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._json = options.value(config, "plan") == "json"
        self._workers = 1
        given = config.option
        if has_workers(config):
            from xdist.workermanage import parse_tx_spec_config

            self._workers = len(parse_tx_spec_config(config))
            given.numprocesses, given.dist, given.tx = None, "no", []
        for report in ("xmlpath", "allure_report_dir"):
            if getattr(given, report, None):
                setattr(given, report, None)
        if self._json:  # machines read what is printed
            given.verbose, given.disable_warnings = _QUIET, True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Print the plan of what was collected; nobody else gets to run it."""
        if session.testsfailed and not self._config.option.continue_on_collection_errors:
            return None  # pytest says so and ends
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")
        robustness = robustness_session(self._config)
        names = dict.fromkeys(
            item.callspec.params["cell"]  # type: ignore[attr-defined]
            for item in session.items
            if item.get_closest_marker("iqa_cells")
        )
        others = sum(not item.get_closest_marker("iqa_cells") for item in session.items)
        try:
            text = self._plan(robustness, [*names])
        except IqaRobustnessError as error:
            pytest.exit(f"{type(error).__name__}: {error}", returncode=int(error.exit_code))
        if self._json:
            reporter.write_line(text)
            return True
        reporter.section("plan")
        reporter.write_line(text)
        for metric, reason in sorted(robustness.left_out.items()):
            reporter.write_line(f"left out: {metric}: {reason}", yellow=True)
        for note in robustness.notes:
            reporter.write_line(note)
        if others:
            reporter.write_line(f"tests without a cell: {others}")
        return True

    def _plan(self, robustness: RobustnessSession, names: list[str]) -> str:
        """Of the cells of these names."""
        if not names and not self._json:
            return "no cell is selected"
        from iqa_robustness.bench.forecast import forecast
        from iqa_robustness.reporting.plan_command import as_json, described

        cells = [robustness.cells[name] for name in names]
        runner = robustness.local_runner(from_store=True)
        found = forecast(cells, runner, measure=True, workers=self._workers)
        return as_json(found) if self._json else described(found)
