"""Labels every cell's Allure result, also of those that could not be computed."""

from __future__ import annotations

import pytest

from iqa_robustness.plugin.session import robustness_session


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """At the end of an item, since allure-pytest writes its own title over an earlier one."""
    if item.get_closest_marker("iqa_cells") is None or not item.config.pluginmanager.hasplugin("allure_listener"):
        return
    from iqa_robustness.plugin.judging import NOT_APPLICABLE, OUTCOME
    from iqa_robustness.reporting.allure import label_cell

    session = robustness_session(item.config)
    cell = session.cells[item.callspec.params["cell"]]  # type: ignore[attr-defined]
    absent = "not applicable" if NOT_APPLICABLE in item.stash else "missing"
    status = item.stash.get(OUTCOME, {}).get("status", absent)
    label_cell(cell, tier=session.thresholds.for_cell(cell).tier, status=status)
