"""Two runs of one suite, cell by cell: which of two versions of a metric is harder to fool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import BaselineError
from iqa_robustness.gate.baseline import Baseline, Regression, regression
from iqa_robustness.measures import effect_size
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.results import is_planted
from iqa_robustness.store import Record

Outcome = Literal["won", "lost", "undecided"]
_CHANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """One cell in both runs; HEAD has won where its interval excludes that it is as bad as BASE, all cells considered.

    cell: what both are about.
    measure: `d_score`, of clean cells `srocc_clear`.
    change: from BASE to HEAD, on BASE's range, above zero where HEAD is worse; its interval allows for all cells.
    effects: shift ÷ SD of the clean scores, of BASE and of HEAD, which no range can flatter; NaN without an attack.
    on_base: mean shift of HEAD under BASE's adversarial images, per cent of BASE's range; NaN where not scored.
    """

    cell: Cell
    measure: str
    change: Regression
    effects: tuple[float, float] = (math.nan, math.nan)
    on_base: float = math.nan

    @property
    def outcome(self) -> Outcome:
        """Of HEAD."""
        if self.change.interval.high < 0:
            return "won"
        return "lost" if self.change.interval.low > 0 else "undecided"

    @property
    def hides(self) -> bool:
        """Whether BASE's images move HEAD further than its own attack does: that one did not find what there is."""
        return self.on_base > self.change.after + 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All cells of two runs.

    pairings: of the cells in both.      only_base, only_head: names of the others.
    incomparable: names of cells in both with the reason why they cannot be compared.
    """

    pairings: Sequence[Pairing]
    only_base: Sequence[str] = ()
    only_head: Sequence[str] = ()
    incomparable: Mapping[str, str] = field(default_factory=dict)

    def count(self, outcome: Outcome) -> int:
        """How many cells HEAD has won, lost, or are undecided."""
        return sum(one.outcome == outcome for one in self.pairings)


def compared(base: Baseline, head: Baseline, *, on_base: Mapping[str, np.ndarray] | None = None) -> Comparison:
    """Pair the cells of two runs.

    Args:
        base, head: the runs.
        on_base: by logical key, HEAD's scores of BASE's adversarial images in the order of HEAD's record.

    Cells with other images or numerics are named as incomparable; planted metrics judge the harness, and are left out.
    """
    base, head = _real(base), _real(head)
    keys = [key for key in head.records if key in base.records]
    level = 1 - _CHANCE / max(len(keys), 1)
    found, incomparable = [], {}
    for key in keys:
        after = head.records[key]
        try:
            before = base.of(after)
            if before is not None:
                found.append(_paired(before, after, level=level, scores=(on_base or {}).get(key)))
        except BaselineError as error:
            incomparable[_name(after)] = error.what
    order = sorted(found, key=lambda one: _place(one.cell))
    return Comparison(
        pairings=order,
        only_base=[_name(record) for key, record in base.records.items() if key not in head.records],
        only_head=[_name(record) for key, record in head.records.items() if key not in base.records],
        incomparable=incomparable,
    )


def _place(cell: Cell) -> tuple[object, ...]:
    strength = STRENGTHS.index(cell.strength) if cell.strength else 0
    return (cell.scenario, cell.metric, cell.defense, cell.attack, cell.goal, strength, cell.source)


def _real(run: Baseline) -> Baseline:
    records = {k: r for k, r in run.records.items() if not is_planted(r.meta["cell"]["metric"])}
    return Baseline(url=run.url, records=records)


def _paired(before: Record, after: Record, *, level: float, scores: np.ndarray | None) -> Pairing:
    attacked = before.meta["cell"]["scenario"] != "clean"
    measure = "d_score" if attacked else "srocc_clear"
    change = regression(measure, before, after, level=level)
    if not attacked:
        return Pairing(cell=cell_of(after), measure=measure, change=change)
    effects = tuple(effect_size(one.scores("clean"), one.scores("defended_attacked")) for one in (before, after))
    moved = math.nan
    if scores is not None:
        moved = float(np.abs(100 * (scores - after.scores("clean")) / before.diam).mean())
    return Pairing(cell=cell_of(after), measure=measure, change=change, effects=effects, on_base=moved)  # type: ignore[arg-type]


def described(comparison: Comparison) -> str:
    """An aligned table for a terminal, and what it adds up to."""
    lines = [_HEADS, *(_line(one) for one in comparison.pairings)]
    parts = [aligned(lines, left=4)] if comparison.pairings else []
    return "\n".join([*parts, *_conclusions(comparison)])


def markdown(comparison: Comparison) -> str:
    """The same for a pull request: what was lost first, the rest folded away."""
    parts = ["### Robustness: HEAD against BASE", "", *(f"* {line}" for line in _conclusions(comparison)), ""]
    lost = [one for one in comparison.pairings if one.outcome == "lost"]
    rest = [one for one in comparison.pairings if one.outcome != "lost"]
    if lost:
        parts += [*_rows(lost), ""]
    if rest:
        parts += [f"<details><summary>{len(rest)} other cells</summary>", "", *_rows(rest), "", "</details>"]
    return "\n".join(parts) + "\n"


def cell_of(record: Record) -> Cell:
    """The cell that the record is about."""
    fields: dict[str, Any] = record.meta["cell"]
    return Cell(**{**fields, "size": tuple(fields["size"])})


_HEADS = ("scenario", "cell", "HEAD", "measure", "BASE", "HEAD", "change (95 %, all cells)", "÷ SD", "on BASE's images")


def _line(one: Pairing) -> tuple[str, ...]:
    digits = 1 if one.measure == "d_score" else 3
    interval = one.change.interval
    # Correlations are better when they are higher: what is printed is the change of the number, not of its harm.
    sign = 1 if one.measure == "d_score" else -1
    shown = sorted((sign * interval.low, sign * interval.high))
    effects = " → ".join("–" if math.isnan(value) else f"{value:.2f}" for value in one.effects)
    return (
        one.cell.scenario + ("" if one.cell.goal == "raise" else f", {one.cell.goal}"),
        one.cell.id,
        one.outcome,
        "D_score, %" if one.measure == "d_score" else "SROCC_clear",
        f"{one.change.before:.{digits}f}",
        f"{one.change.after:.{digits}f}",
        f"{sign * interval.value:+.{digits}f} ({_bounds(shown, digits)})",
        "" if all(math.isnan(value) for value in one.effects) else effects,
        "–" if math.isnan(one.on_base) else f"{one.on_base:.1f}" + (" !" if one.hides else ""),
    )


def _bounds(shown: Sequence[float], digits: int) -> str:
    return f"{shown[0]:+.{digits}f} to {shown[1]:+.{digits}f}" if all(map(math.isfinite, shown)) else "unknown"


def _conclusions(comparison: Comparison) -> list[str]:
    counts = ", ".join(f"{comparison.count(outcome)} {outcome}" for outcome in ("won", "lost", "undecided"))
    count = len(comparison.pairings)
    lines = [
        f"{count} cell{'' if count == 1 else 's'} in both: HEAD has {counts} (shifts on BASE's range, paired by image)"
    ]
    for names, where in ((comparison.only_base, "BASE"), (comparison.only_head, "HEAD")):
        if names:
            lines.append(
                f"{len(names)} in {where} only: {', '.join(sorted(names)[:5])}{' …' if len(names) > 5 else ''}"
            )
    for name, reason in comparison.incomparable.items():
        lines.append(f"not comparable: {name}: {reason}")
    hidden = [one for one in comparison.pairings if one.hides]
    if hidden:
        lines.append(f"! {len(hidden)}: BASE's images move HEAD further than its own attack, which missed something")
    return lines


def _rows(pairings: Sequence[Pairing]) -> list[str]:
    lines = [_HEADS, tuple("---" for _ in _HEADS), *(_line(one) for one in pairings)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _name(record: Record) -> str:
    return cell_of(record).name
