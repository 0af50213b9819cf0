"""A check: one promise that every component of a kind must keep, tried on one of them, with what was found."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from iqa_robustness.errors import ConformanceError, IqaRobustnessError

SubjectT = TypeVar("SubjectT")
_OWN_CODE = Path(__file__).parents[1]


class NotApplicable(Exception):
    """A check that says nothing about this subject; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Check(Generic[SubjectT]):
    """One promise.

    name: one or two words, for listings.
    title: the promise, as a sentence that is true of a component that keeps it.
    function: returns what it found in a few words (it may be empty); raises ConformanceError, or any error of ours,
        where the promise is broken, and NotApplicable.
    essential: where it is broken, the other checks would only repeat it, and are left out.
    """

    name: str
    title: str
    function: Callable[[SubjectT], str]
    essential: bool = False


class Outcome(StrEnum):
    """What came of a check."""

    OK = "ok"
    FAILED = "failed"
    NOT_APPLICABLE = "does not apply"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A check and what came of it.

    check, title: of the check.
    text: what was found, what is wrong, or why the check does not apply.
    fix: what to do about a failure.
    seconds: wall time.
    """

    check: str
    title: str
    outcome: Outcome
    text: str = ""
    fix: str = ""
    seconds: float = 0.0


def require(kept: bool, what: str, *, fix: str) -> None:
    """Raise ConformanceError unless the promise is kept."""
    if not kept:
        raise ConformanceError(what, fix=fix)


def examined(checks: Sequence[Check[SubjectT]], subject: SubjectT) -> Iterator[Finding]:
    """Try one check after the other; each finding is there as soon as its check is done.

    An exception of any kind is a failure of the check that met it, and stops no other check.
    """
    broken = ""
    for check in checks:
        if broken:
            yield _finding(check, Outcome.NOT_APPLICABLE, text=f"not looked at, since {broken!r} failed")
            continue
        finding = _examined(check, subject)
        if check.essential and finding.outcome is Outcome.FAILED:
            broken = check.name
        yield finding


def _examined(check: Check[SubjectT], subject: SubjectT) -> Finding:
    began = time.perf_counter()
    fix = ""
    try:
        text, outcome = check.function(subject), Outcome.OK
    except NotApplicable as reason:
        text, outcome = str(reason), Outcome.NOT_APPLICABLE
    except IqaRobustnessError as error:
        known = str(error.where)
        text, fix, outcome = f"{error.what} ({known})" if known else error.what, error.fix, Outcome.FAILED
    except Exception as error:  # somebody's code may fail with anything
        text, outcome = f"{type(error).__name__}: {error}{_place(error)}", Outcome.FAILED
        fix = "take any images of (N, 3, H, W) float32 RGB in [0, 1], or refuse them with ImageContractError"
    return _finding(check, outcome, text=text, fix=fix, seconds=time.perf_counter() - began)


def _finding(check: Check[SubjectT], outcome: Outcome, *, text: str, fix: str = "", seconds: float = 0.0) -> Finding:
    return Finding(check=check.name, title=check.title, outcome=outcome, text=text, fix=fix, seconds=seconds)


def _place(error: Exception) -> str:
    """Where in somebody else's code it happened: the innermost line that is not of this package."""
    lines = [line for line in traceback.extract_tb(error.__traceback__) if _OWN_CODE not in Path(line.filename).parents]
    ours = [line for line in lines if "site-packages" not in line.filename] or lines
    return f" (at {ours[-1].filename}:{ours[-1].lineno})" if ours else ""
