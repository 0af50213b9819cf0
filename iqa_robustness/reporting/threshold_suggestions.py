"""Tighter thresholds from what was measured: what holds today, with a margin, becomes what is required."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iqa_robustness.axes import Axes
from iqa_robustness.gate.measurements import Measurement, measure
from iqa_robustness.gate.thresholds import Bound, Thresholds
from iqa_robustness.gate.verdict import judge
from iqa_robustness.reporting.leaderboard_selection import LEAST_CONTENTS, half_of
from iqa_robustness.store import Record

# Two digits say what a threshold means; more would say what one run happened to give.
_DIGITS = 2
# An empty list as one line, which nothing can be added below.
_NO_RULES = re.compile(r"^rules:[ \t]*\[[ \t]*\]", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Bounds for all cells of a pair in a scenario.

    metric, defense, scenario: what the rule is about.
    bounds: by measure, tighter than what is in force.      cells: how many it was learned from.
    """

    metric: str
    defense: str
    scenario: str
    bounds: Mapping[str, Bound]
    cells: int

    def __str__(self) -> str:
        """As two lines of YAML, an item of `rules`."""
        bounds = ", ".join(f"{name}: {_written(bound)}" for name, bound in self.bounds.items())
        names = ", ".join(f"{axis}: {_quoted(getattr(self, axis))}" for axis in ("metric", "defense", "scenario"))
        return f"  - match: {{{names}}}\n    thresholds: {{{bounds}}}"


_Pair = tuple[str, str, str]
"""Metric, defense, scenario."""
_Side = tuple[str, str]
"""A measure, and `min` or `max`."""


@dataclass(frozen=True, kw_only=True)
class _Reached:
    """How far a cell's interval reaches towards a limit that is in force.

    learned: how far that of one half of its contents does.      held_out: the estimate of the other half.
    Both NaN where the contents are too few to be divided.
    """

    value: float
    limit: float
    learned: float
    held_out: float


def suggestions(
    thresholds: Thresholds, records: Iterable[tuple[Axes, Record]], *, margin: float = 0.1
) -> list[Suggestion]:
    """For each (metric, defense, scenario): the worst confidence bound of its cells, and the margin on top.

    Cells that do not pass are left out: a threshold that they would pass is not made of them. A bound that is not
    tighter than the tightest in force is no suggestion; nor is one of which the same rule, applied to one half of the
    contents, does not hold for the estimates of the other half: it fits the images that it was made of, and no others.

    Args:
        thresholds: what is in force; only its measures are looked at.
        records: cells with what was measured.
        margin: share of a value that it may get worse by, 0.1 is a tenth.
    """
    seen: dict[_Pair, dict[_Side, list[_Reached]]] = {}
    counts: dict[_Pair, int] = {}
    for cell, record in records:
        verdict = judge(record, thresholds.for_cell(cell))
        if verdict.status != "pass":
            continue
        pair = (cell.metric, cell.defense, cell.scenario)
        counts[pair] = counts.get(pair, 0) + 1
        learned, held_out = _halves(record)
        for check in verdict.checks:  # without a baseline none is a regression
            interval, bound = check.measurement.interval, check.bound
            for side, limit, value in (("max", bound.max, interval.high), ("min", bound.min, interval.low)):
                if limit is not None and math.isfinite(value):
                    name = check.measurement.name
                    end = "high" if side == "max" else "low"
                    reached = _Reached(
                        value=value,
                        limit=limit,
                        learned=float(getattr(learned[name].interval, end)) if name in learned else math.nan,
                        held_out=held_out[name].interval.value if name in held_out else math.nan,
                    )
                    seen.setdefault(pair, {}).setdefault((name, side), []).append(reached)
    found = []
    for pair, sides in sorted(seen.items()):
        bounds: dict[str, dict[str, float]] = {}
        for (name, side), all_reached in sides.items():
            tighter = _tighter(all_reached, side, margin)
            if tighter is not None and _holds_elsewhere(all_reached, side, margin):
                bounds.setdefault(name, {})[side] = tighter
        if bounds:
            made = {name: Bound(**both) for name, both in bounds.items()}
            found.append(Suggestion(metric=pair[0], defense=pair[1], scenario=pair[2], bounds=made, cells=counts[pair]))
    return found


def completed(text: str, found: Iterable[Suggestion]) -> str:
    """The text of a thresholds file with the suggestions as its last rules; comments stay."""
    text = _NO_RULES.sub("rules:", text if text.endswith("\n") else f"{text}\n")
    if not any(line.startswith("rules:") for line in text.splitlines()):
        text += "rules:\n"
    return text + "".join(f"{suggestion}\n" for suggestion in found)


def difference(before: str, after: str, *, name: str) -> str:
    """A unified diff of the file."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), fromfile=name, tofile=f"{name} (suggested)"
    )
    return "".join(lines)


def _tighter(reached: Iterable[_Reached], side: str, margin: float) -> float | None:
    """The worst value with its margin, where that is tighter than every limit in force."""
    values, limits = zip(*((one.value, one.limit) for one in reached), strict=True)
    if side == "max":
        bound = _loosened(max(values), side, margin)
        return bound if bound < min(limits) else None
    bound = _loosened(min(values), side, margin)
    return bound if bound > max(limits) else None


def _halves(record: Record) -> tuple[dict[str, Measurement], dict[str, Measurement]]:
    """What is measured on each half of the contents; nothing where one has too few."""
    halves = [half_of(record, for_selection) for for_selection in (True, False)]
    if any(len({*half.contents}) < LEAST_CONTENTS for half in halves):
        return {}, {}
    return measure(halves[0]), measure(halves[1])


def _holds_elsewhere(reached: Iterable[_Reached], side: str, margin: float) -> bool:
    """Whether the bound of one half holds on the other, as far as there are halves."""
    known = [one for one in reached if math.isfinite(one.learned) and math.isfinite(one.held_out)]
    if not known:
        return True
    if side == "max":
        return max(one.held_out for one in known) <= _loosened(max(one.learned for one in known), side, margin)
    return min(one.held_out for one in known) >= _loosened(min(one.learned for one in known), side, margin)


def _loosened(value: float, side: str, margin: float) -> float:
    """The value made worse by the margin, rounded to two digits away from better."""
    looser = value + margin * abs(value) * (1 if side == "max" else -1)
    if abs(looser) < sys.float_info.min:  # of subnormal numbers, which no measure is, there is no second digit
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(looser))) - _DIGITS + 1)
    # A hundredth of the last digit forgives what floating point adds to a round number.
    steps = math.ceil(looser / unit - 0.01) if side == "max" else math.floor(looser / unit + 0.01)
    return float(f"{steps * unit:.{_DIGITS}g}")


def _written(bound: Bound) -> str:
    sides = {"min": bound.min, "max": bound.max}
    return "{" + ", ".join(f"{side}: {value:g}" for side, value in sides.items() if value is not None) + "}"


def _quoted(name: str) -> str:
    """Names with a colon or a pattern's signs are quoted, as YAML needs it."""
    return name if name.replace("-", "").replace("_", "").isalnum() else "'" + name.replace("'", "''") + "'"
