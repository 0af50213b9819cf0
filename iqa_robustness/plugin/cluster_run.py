"""Runs with `--iqa-runner ray`: before the first item is judged, the cluster computes the cells of all."""

from __future__ import annotations

import time

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.plugin.session import robustness_session, started

_PULSE = 30.0


class ClusterRun:
    """Registered where no worker is: Ray's tasks are the workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._last_pulse = time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Fill the store; what stops a cell is raised again by the item that judges it."""
        if not started(self._config) or self._config.option.collectonly or session.testsfailed:
            return
        robustness = robustness_session(self._config)
        if robustness.cluster is None:
            return
        chosen = dict.fromkeys(
            item.callspec.params["cell"]  # type: ignore[attr-defined]
            for item in session.items
            if item.get_closest_marker("iqa_cells")
        )
        cells = [robustness.cells[name] for name in chosen]
        try:
            from iqa_robustness.bench.runners.ray import RayRunner

            runner = robustness.runner
            if cells and isinstance(runner, RayRunner):
                runner.fill(cells, timeout=robustness.timeout, report=self._told)
        except ConfigurationError as error:
            raise pytest.UsageError(str(error)) from error

    def _told(self, cell: Cell, done: int, total: int) -> None:
        del cell
        now = time.monotonic()
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and (now - self._last_pulse > _PULSE or done == total):
            self._last_pulse = now
            reporter.write_line(f"iqa-robustness: {done} of {total} cells computed or found by the cluster")
