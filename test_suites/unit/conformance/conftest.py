"""What the tests of the conformance kit share: every check of a kind, tried on a class of the test's own module."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iqa_robustness.conformance.check import Finding, examined
from iqa_robustness.conformance.qualification import KINDS, qualified


@pytest.fixture(scope="session")
def tried() -> Callable[[str, type], dict[str, Finding]]:
    """`tried("metric", Class)`: the findings by the names of their checks."""

    def tried(kind: str, subject: type) -> dict[str, Finding]:
        findings = qualified(kind, f"{subject.__module__}:{subject.__qualname__}")
        return {finding.check: finding for finding in findings}

    return tried


@pytest.fixture(scope="session")
def tried_by() -> Callable[[str, str, type], Finding]:
    """`tried_by("range", "metric", Class)`: what that check alone finds."""

    def tried_by(check: str, kind: str, subject: type) -> Finding:
        chosen = [each for each in KINDS[kind].checks if each.name == check]
        (finding,) = examined(chosen, KINDS[kind].subject(f"{subject.__module__}:{subject.__qualname__}"))
        return finding

    return tried_by
