"""What is wrong with a thresholds file that is valid: rules that nothing meets, waivers that have run out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from iqa_robustness.axes import Axes
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.thresholds import DECLARATIONS, Match, Thresholds
from iqa_robustness.gate.waivers import SOON
from iqa_robustness.reporting.threshold_explanation import spoken_match


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to mend.

    line: in the file, from 1 on.
    kind: `dead`, `elsewhere` (a rule for what only suites or options name), `overridden`, `unmeasured`, `expired` or
        `expires soon`.
    text: what it is about.
    """

    line: int
    kind: str
    text: str


def findings(
    thresholds: Thresholds,
    cells: Sequence[Axes],
    *,
    today: datetime.date,
    named: Callable[[Match], Sequence[Axes]] = lambda _: (),
) -> list[Finding]:
    """Everything found, by line.

    Args:
        thresholds: the file.
        cells: what a run would consist of.
        today: on which waivers hold or have expired.
        named: the cells there would be if a suite or an option named what a rule does; a rule about none is dead.
    """
    found = [*_unmeasured(thresholds), *_rules(thresholds, cells, named), *_waivers(thresholds, today)]
    return sorted(found, key=lambda finding: (finding.line, finding.kind))


def _unmeasured(thresholds: Thresholds) -> Iterator[Finding]:
    for scenario, bounds in thresholds.defaults.items():
        for name in bounds:
            if scenario not in MEASURES[name].scenarios:
                line = thresholds.lines[("defaults", scenario, name)]
                yield Finding(line=line, kind="unmeasured", text=f"{name} is never measured in scenario {scenario}")


def _rules(
    thresholds: Thresholds, cells: Sequence[Axes], named: Callable[[Match], Sequence[Axes]]
) -> Iterator[Finding]:
    """A rule that covers nothing, or of which nothing is in force anywhere."""
    orders = [thresholds.covering(cell) for cell in cells]
    winners = {winner for order in orders for winner in _in_force(thresholds, order)}
    covering = {number for order in orders for number in order}
    for number, rule in enumerate(thresholds.rules):
        line, match = thresholds.lines[("rules", number)], spoken_match(rule.match)
        if number not in covering:
            if any(rule.match.covers(cell) for cell in named(rule.match)):
                yield Finding(line=line, kind="elsewhere", text=f"for what only suites or options name: {match}")
            else:
                yield Finding(line=line, kind="dead", text=f"the rule selects no cell: {match}")
        elif not any((number, said) in winners for said in _said(thresholds, number)):
            why = (
                "it takes nothing back"
                if _said(thresholds, number) == ["declared"]
                else "other rules override all of it"
            )
            yield Finding(line=line, kind="overridden", text=f"{why}: {match}")


def _in_force(thresholds: Thresholds, order: Sequence[int]) -> set[tuple[int, str]]:
    last: dict[str, int] = {}
    for number in order:
        taken_back = [key for key in DECLARATIONS if key in last]
        if thresholds.rules[number].declared is False and taken_back:
            for key in taken_back:
                del last[key]
            last["declared"] = number
        last |= {said: number for said in _said(thresholds, number) if said != "declared"}
    return {(number, said) for said, number in last.items()}


def _said(thresholds: Thresholds, number: int) -> list[str]:
    rule = thresholds.rules[number]
    keys = ("tier", *DECLARATIONS, "declared")
    return [*rule.thresholds, *(key for key in keys if getattr(rule, key) is not None)]


def _waivers(thresholds: Thresholds, today: datetime.date) -> Iterator[Finding]:
    for number, rule in enumerate(thresholds.rules):
        if rule.waiver is None:
            continue
        line = thresholds.lines[("rules", number, "waiver")]
        if rule.waiver.expired(today):
            yield Finding(line=line, kind="expired", text=f"its cells fail: {rule.waiver}")
        elif rule.waiver.expires_soon(today):
            yield Finding(line=line, kind="expires soon", text=f"less than {SOON} days are left: {rule.waiver}")
