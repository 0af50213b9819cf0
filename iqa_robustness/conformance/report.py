"""Findings for people, in aligned lines, and for machines."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from iqa_robustness.conformance.check import Finding, Outcome

SCHEMA = 1
_LABELS = {Outcome.OK: "ok", Outcome.FAILED: "FAILED", Outcome.NOT_APPLICABLE: "–"}
_LABEL = max(map(len, _LABELS.values()))


def lines_of(finding: Finding, *, name_width: int, width: int) -> list[str]:
    """One check: a line with its promise and what was found; for a failure, what is wrong and what to do.

    Args:
        finding: what came of it.
        name_width: characters of the longest name of a check.
        width: characters of a line.
    """
    head = f"  {_LABELS[finding.outcome]:<{_LABEL}}  {finding.check:<{name_width}}  "
    if finding.outcome is Outcome.FAILED:
        lines = _wrapped(head, finding.title, width)
        lines += _wrapped(f"{'':{len(head)}}wrong: ", finding.text, width)
        return lines + (_wrapped(f"{'':{len(head)}}to do: ", finding.fix, width) if finding.fix else [])
    if finding.outcome is Outcome.NOT_APPLICABLE:
        return _wrapped(head, f"{finding.title}: does not apply, {finding.text}", width)
    return _wrapped(head, f"{finding.title} ({finding.text})" if finding.text else finding.title, width)


def closing_line(findings: Sequence[Finding]) -> str:
    """`12 ok, 1 failed, 2 do not apply; 3.4 s`."""
    counts = Counter(finding.outcome for finding in findings)
    absent = counts[Outcome.NOT_APPLICABLE]
    parts = [f"{counts[Outcome.OK]} ok", f"{counts[Outcome.FAILED]} failed"]
    parts += [f"{absent} do{'es' if absent == 1 else ''} not apply"] if absent else []
    return f"{', '.join(parts)}; {sum(finding.seconds for finding in findings):.1f} s"


def document_of(
    findings: Sequence[Finding], *, kind: str, reference: str, device: str, options: dict[str, Any]
) -> dict[str, Any]:
    """The whole qualification as JSON values."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "reference": reference,
        "device": device,
        "options": options,
        "passed": passed(findings),
        "checks": [
            {
                "name": finding.check,
                "title": finding.title,
                "outcome": finding.outcome.value,
                "text": finding.text,
                "fix": finding.fix,
                "seconds": round(finding.seconds, 3),
            }
            for finding in findings
        ],
    }


def passed(findings: Sequence[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.outcome is not Outcome.FAILED for finding in findings)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    one_line = " ".join(text.split())
    return textwrap.wrap(
        one_line,
        width=max(width, len(head) + 24),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]
