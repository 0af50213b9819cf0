"""What a cell of so many images can find, how many would decide it, and which failures of a run may be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from iqa_robustness.gate.comparisons import holm
from iqa_robustness.gate.thresholds import Bound
from iqa_robustness.measures import Interval
from iqa_robustness.measures.intervals import LEVEL, student_quantile

POWER = 0.8
"""How often what is called detectable is found."""

FAMILY_ERROR = 0.05
"""Chance that a run in which nothing fails has any failure that is said to stand."""

# More images than anybody has.
_MOST = 1e6


def detectable(interval: Interval) -> float:
    """How far beyond its threshold a measure has to be for a cell like this to fail in `POWER` of the runs.

    In the measure's unit; infinite with fewer than two contents or without bounds. From the interval's own error: the
    sum of the two quantiles of Student's t (of the level, and of the power) times the standard error.

    Source: the power of a t-test, with the central t in place of the noncentral one.
    """
    reach = max(interval.value - interval.low, interval.high - interval.value)
    if interval.clusters < 2 or not math.isfinite(reach):
        return math.inf
    error = reach / student_quantile(LEVEL, interval.clusters)
    return error * (student_quantile(LEVEL, interval.clusters) + float(student.ppf(POWER, interval.clusters - 1)))


def deciding_images(interval: Interval, bound: Bound, images: int) -> int | None:
    """About how many images would decide a check whose interval lies across its threshold, were the estimate true.

    To two digits; None where a million would not do (the estimate lies on the threshold), or nothing is known of the
    error. New images are supposed to come with contents in the same proportion.

    Args:
        interval: of the measure.
        bound: that it is held to.
        images: that the interval rests on.
    """
    crossed = [
        limit for limit in (bound.min, bound.max) if limit is not None and interval.low <= limit <= interval.high
    ]
    if interval.clusters < 2 or not crossed or not images:
        return None
    needed = float(images)
    for limit in crossed:
        distance = abs(interval.value - limit)
        reach = interval.high - interval.value if interval.value <= limit else interval.value - interval.low
        if not math.isfinite(reach) or not distance * math.sqrt(_MOST / images) > reach:
            return None
        error = reach / student_quantile(LEVEL, interval.clusters)
        factor = 1.0
        while student_quantile(LEVEL, max(int(interval.clusters * factor), 2)) * error / math.sqrt(factor) > distance:
            factor *= 1.05
        needed = max(needed, images * factor)
    return _rounded(needed) if needed <= _MOST else None


def chance(interval: Interval, bound: Bound) -> float:
    """One-sided p-value of a failing check: how likely an estimate so far beyond its threshold is, were it on it."""
    beyond = [
        (interval.value - limit, interval.value - interval.low)
        if limit == bound.max
        else (limit - interval.value, interval.high - interval.value)
        for limit in (bound.min, bound.max)
        if limit is not None
    ]
    distance, reach = max(beyond)
    if interval.clusters < 2 or not math.isfinite(reach) or distance <= 0:
        return 1.0
    if reach <= 0:
        return 0.0
    return float(student.sf(distance / reach * student_quantile(LEVEL, interval.clusters), interval.clusters - 1))


def standing(chances: Mapping[str, float], checks: int) -> dict[str, bool]:
    """Which failures of a run stand when all of its checks are counted, by the name they were given under.

    A run passes only if every check does: a wrong pass of the whole needs a wrong pass of each weak cell, so passing
    needs no correction (an intersection–union test). A wrong failure needs only one; so failures are held to Holm's
    correction over all checks.

    Args:
        chances: of the failing checks, by any name; see `chance`.
        checks: how many there were in the run, failing or not.

    Source: Berger, Technometrics 24 (1982); Holm, Scandinavian Journal of Statistics 1979.
    """
    others = [1.0] * max(checks - len(chances), 0)
    adjusted = holm([*chances.values(), *others])
    return {name: p <= FAMILY_ERROR for name, p in zip(chances, adjusted, strict=False)}


@dataclass(frozen=True, kw_only=True)
class RunFailures:
    """The failed checks of a run that nobody declared.

    failed: how many.      doubtful: those that may be chance, as `CELL (MEASURE)`.
    checks: how many there were in the run, failing or not, declared or not.
    """

    failed: int
    doubtful: tuple[str, ...]
    checks: int

    def __str__(self) -> str:
        return (
            f"{self.failed - len(self.doubtful)} of {self.failed} failed checks stand at {100 * FAMILY_ERROR:.0f} % "
            f"for all {self.checks} checks of the run (Holm)"
        )


def run_failures(outcomes: Sequence[Mapping[str, object]]) -> RunFailures | None:
    """Which failures of a run stand, and which may be chance; None where no check failed that nobody declared."""
    chances: dict[str, float] = {}
    declared: set[str] = set()
    checks = 0
    for outcome in outcomes:
        found = outcome.get("chances")
        if isinstance(found, Mapping):
            checks += len(found)
            own = {f"{outcome['name']} ({name})": float(p) for name, p in found.items() if p is not None}
            chances |= own
            declared |= own.keys() if outcome.get("expected") else set()
    stands = {name: stood for name, stood in standing(chances, checks).items() if name not in declared}
    if not stands:
        return None
    return RunFailures(
        failed=len(stands), doubtful=tuple(name for name, stood in stands.items() if not stood), checks=checks
    )


def _rounded(number: float) -> int:
    """Up to two digits."""
    unit = int(10 ** max(math.floor(math.log10(number)) - 1, 0))
    return math.ceil(number / unit - 1e-9) * unit
