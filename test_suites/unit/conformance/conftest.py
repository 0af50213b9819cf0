"""What the tests of the conformance kit share: every check of a kind, tried on a class of the test's own module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from iqa_robustness.conformance.check import Finding, examined
from iqa_robustness.conformance.qualification import KINDS, qualified


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
