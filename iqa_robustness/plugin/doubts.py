"""The attacks of a run together, at its end: passes under a suspect one become invalid; the others' worst case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iqa_robustness.errors import StoreError
from iqa_robustness.plugin.outcomes import Outcomes
from iqa_robustness.plugin.session import RobustnessSession

if TYPE_CHECKING:
    from iqa_robustness.gate.comparisons import Attempt
    from iqa_robustness.gate.worst_case import Harm


class Doubts:
    """Registered beside the summary, which it goes before: reports that are written at the end are to hold its word.

    Args:
        session: of this process.
        outcomes: of all cells, once they have arrived.
    """

    def __init__(self, session: RobustnessSession, outcomes: Outcomes) -> None:
        self.session = session
        self.outcomes = outcomes

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Compare the attacks, now that all have been seen; what that changes is reported as an error."""
        if self.outcomes.configuration_error or not self.outcomes.cells:
            return
        try:
            self._compare(session)
        except StoreError as error:
            self.outcomes.store_error = f"{type(error).__name__}: {error}"

    def _compare(self, session: pytest.Session) -> None:
        from iqa_robustness.gate.doubts import doubted
        from iqa_robustness.gate.worst_case import worst_cases
        from iqa_robustness.reporting.readings import Readings

        store = self.session.open_store(read_only=True)
        readings = Readings(store)
        attempts: dict[str, Attempt] = {}
        harms: dict[str, Harm] = {}
        for name, outcome in self.outcomes.cells.items():
            entry = store.find(outcome["record"]) if outcome["attack"] and outcome["record"] else None
            if entry is None:
                continue
            reading = readings.of(entry)
            if reading.attempt is not None:
                attempts[name] = reading.attempt
            if reading.harm is not None:
                harms[name] = reading.harm
        for outcome in doubted(self.outcomes.cells, attempts):
            session.config.hook.pytest_runtest_logreport(report=report_of(outcome))
        sound = [harm for name, harm in harms.items() if self.outcomes.cells[name]["status"] != "invalid"]
        self.outcomes.worst_cases = worst_cases(sound)


def report_of(outcome: dict[str, Any]) -> pytest.TestReport:
    """An error at the end of the item that judged the cell: it had passed before all others were known."""
    text = "\n".join([f"invalid: {outcome['name']}", *(f"  {reason}" for reason in outcome["reasons"])])
    report = pytest.TestReport(
        nodeid=outcome["nodeid"],
        location=(outcome["nodeid"].partition("::")[0], None, outcome["nodeid"].partition("::")[2]),
        keywords={},
        outcome="failed",
        longrepr=text,
        when="teardown",
    )
    vars(report)["iqa"] = outcome
    return report
