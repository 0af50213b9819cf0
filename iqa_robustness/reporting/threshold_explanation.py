"""Why a cell is held to what it is held to: each bound with the line it comes from, and what was overridden."""

from __future__ import annotations

import datetime

from iqa_robustness.axes import Axes
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.thresholds import Match, Thresholds
from iqa_robustness.reporting.columns import aligned


def explained(thresholds: Thresholds, cell: Axes, *, today: datetime.date) -> str:
    """Text: an aligned table of bounds, then tier, weakness and waiver, then the rules that cover the cell."""
    found, file = thresholds.for_cell(cell), thresholds.path.name
    where = f"{cell.metric} behind {cell.defense}, {cell.scenario}, " + (
        f"{cell.attack} {cell.strength}, {cell.goal}" if cell.attack else "no attack"
    )
    lines = [("measure", "required", "unit", "from")]
    for name, bound in found.bounds.items():
        info = MEASURES[name]
        line = f"{file}, line {found.origin[name]}"
        unused = "" if cell.scenario in info.scenarios else "; never measured in this scenario"
        lines.append((name, str(bound), info.unit, line + unused))
    parts = [where, aligned(lines, left=4) if found.bounds else "no threshold applies: the cell cannot pass"]
    facts: list[tuple[str, str, str]] = [("tier", found.tier, _line(file, found.origin.get("tier")))]
    if found.known_weakness:
        facts.append(("known weakness", found.known_weakness, _line(file, found.origin["known_weakness"])))
    if found.waiver is not None:
        state = "expired" if found.waiver.expired(today) else "holds"
        facts.append(("waiver", f"{found.waiver}: {state}", _line(file, found.origin["waiver"])))
    parts.append(aligned(facts, left=3))
    rules = [
        (f"line {thresholds.lines[('rules', number)]}", spoken_match(thresholds.rules[number].match))
        for number in thresholds.covering(cell)
    ]
    parts.append(
        "rules that cover it, each overriding those above\n" + aligned(rules, left=2) if rules else "no rule covers it"
    )
    return "\n\n".join(parts)


def spoken_match(match: Match) -> str:
    """`metric compact, attack square or nes`; `every cell` for one that asks for nothing."""
    return ", ".join(f"{axis} {' or '.join(patterns)}" for axis, patterns in match.given.items()) or "every cell"


def _line(file: str, line: int | None) -> str:
    return f"{file}, line {line}" if line else "default"
