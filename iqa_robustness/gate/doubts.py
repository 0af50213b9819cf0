"""Passes that prove nothing: cells whose attack a weaker adversary has beaten, on the same target, in the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iqa_robustness.errors import ExitCode
from iqa_robustness.gate.comparisons import Attempt, suspicions


def doubted(outcomes: Mapping[str, dict[str, Any]], attempts: Mapping[str, Attempt]) -> list[dict[str, Any]]:
    """Compare the attacks of all judged cells, and make those invalid that passed under a suspect one.

    A cell that failed stays failed: what it shows was found, however badly the attack searched.

    Args:
        outcomes: by cell, as workers send them; changed in place.
        attempts: by cell, what its attack gained.

    Returns:
        The changed outcomes.
    """
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


def _identity(attempt: Attempt) -> tuple[str, ...]:
    return (*attempt.target, attempt.attack, attempt.strength)
