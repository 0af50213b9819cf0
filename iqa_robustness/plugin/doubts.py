"""The attacks of a run together, at its end: passes under a suspect one become invalid; the others' worst case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from iqa_robustness.errors import ExitCode
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
        from iqa_robustness.gate.comparisons import attempt_of
        from iqa_robustness.gate.worst_case import harm_of, worst_cases
        from iqa_robustness.store import Record, Store

        store = Store(self.session.store_url, read_only=True)
        attempts: dict[str, Attempt] = {}
        harms: dict[str, Harm] = {}
        for name, outcome in self.outcomes.cells.items():
            entry = store.find(outcome["record"]) if outcome["attack"] and outcome["record"] else None
            if entry is None:
                continue
            # One record at a time: only the gains of all of them fit into memory.
            record = Record.from_files(entry.files())
            attempt, harm = attempt_of(record), harm_of(record)
            if attempt is not None:
                attempts[name] = attempt
            if harm is not None:
                harms[name] = harm
        for outcome in doubted(self.outcomes.cells, attempts):
            session.config.hook.pytest_runtest_logreport(report=report_of(outcome))
        sound = [harm for name, harm in harms.items() if self.outcomes.cells[name]["status"] != "invalid"]
        self.outcomes.worst_cases = worst_cases(sound)


def doubted(outcomes: Mapping[str, dict[str, Any]], attempts: Mapping[str, Attempt]) -> list[dict[str, Any]]:
    """Compare the attacks of all judged cells, and make those invalid that passed under a suspect one.

    A cell that failed stays failed: what it shows was found, however badly the attack searched.

    Args:
        outcomes: by cell, as workers send them; changed in place.
        attempts: by cell, what its attack gained.

    Returns:
        The changed outcomes.
    """
    from iqa_robustness.gate.comparisons import suspicions

    # The images of a non-adaptive attack are judged behind every defense: one record speaks for all of them.
    different = {_identity(attempt): attempt for attempt in attempts.values()}
    reasons = {_identity(suspicion.suspect): str(suspicion) for suspicion in suspicions(different.values())}
    changed = []
    for name, attempt in attempts.items():
        outcome = outcomes[name]
        green = outcome["status"] == "pass" or (outcome["status"] == "inconclusive" and outcome["expected"])
        if _identity(attempt) in reasons and green:
            outcome |= {
                "status": "invalid",
                "expected": False,
                "exit_code": int(ExitCode.INVALID),
                "reasons": [*outcome["reasons"], reasons[_identity(attempt)]],
            }
            changed.append(outcome)
    return changed


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


def _identity(attempt: Attempt) -> tuple[str, ...]:
    return (*attempt.target, attempt.attack, attempt.strength)
