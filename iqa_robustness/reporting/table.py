"""The summary at the end of a run, for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from iqa_robustness.gate.power import run_failures
from iqa_robustness.reporting.certified import certified_lines
from iqa_robustness.reporting.results import (
    LABELS,
    NONADAPTIVE_ONLY,
    Outcome,
    PairRow,
    adaptive_rows,
    counted,
    effect_of,
    is_control,
    measure_of,
    pair_rows,
    repairs_of,
    several,
    spoken_counts,
    spoken_noise,
)

# Wider than any row: a table that is wrapped cannot be read, a long line can.
_WIDTH = 240
# Names on one line.
_NAMED = 5


def summary_lines(cells: Sequence[Outcome], *, lost: Sequence[str] = (), not_run: Sequence[str] = ()) -> list[str]:
    """Lines to print: a table of metric × defense, then the counts, then what a reader must know about the scores.

    Args:
        cells: outcomes.
        lost: node ids of items whose worker ended while it ran them.
        not_run: node ids of items that no worker was left for.
    """
    judged = [cell for cell in cells if not is_control(cell)]
    lines = _rendered(_table(pair_rows(judged))) if judged else []
    if judged:
        lines += _adaptive_lines(judged) + certified_lines(judged)
        lines.append(f"{several(len(judged), 'cell')}: {spoken_counts(counted(judged))}")
        lines += _standing_lines(judged)
    if len(cells) > len(judged):
        lines.append(f"{several(len(cells) - len(judged), 'cell')} of planted subjects judged the harness itself")
    computed = sum(bool(cell["computed"]) for cell in cells)
    if cells:
        known = sum(cell["status"] != "missing" for cell in cells) - computed
        lines.append(f"{computed} computed in this run, {known} taken from the store")
    lines += [f"repaired: {what}" for what in repairs_of(cells)]
    if lost:
        lines.append(f"{len(lost)} lost with their worker: {', '.join(lost)}")
    if not_run:
        lines.append(f"{len(not_run)} not run, no worker was left for them: {_named(not_run)}")
    if any(cell["mos_kind"] == "pseudo" for cell in judged):
        lines.append("opinion scores are pseudo (a formula, not people): they gate this data set's own run only")
    return lines


def _standing_lines(cells: Sequence[Outcome]) -> list[str]:
    """How many failures stand when all checks are counted, and which may be chance."""
    failures = run_failures(cells)
    if failures is None:
        return []
    doubtful = failures.doubtful
    return [str(failures), *([f"{len(doubtful)} may be chance: {_named(doubtful)}"] if doubtful else [])]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _adaptive_lines(cells: Sequence[Outcome]) -> list[str]:
    """How each pair was attacked adaptively, and which were not."""
    lines = [
        f"adaptive: {row.metric} behind {row.defense}: {row.protocols}; scored {row.scoring}; "
        f"worst images: {row.sources}"
        for row in adaptive_rows(cells)
    ]
    left = [f"{row.metric} behind {row.defense}" for row in pair_rows(cells) if row.nonadaptive_only]
    return lines + ([f"{NONADAPTIVE_ONLY}, not attacked by who knows the defense: {', '.join(left)}"] if left else [])


def _table(rows: Sequence[PairRow]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for title, justify in (
        ("metric", "left"),
        ("defense", "left"),
        ("verdict", "left"),
        ("worst attack", "left"),
        ("D_score %", "right"),
        ("95 %", "left"),
        ("÷ SD", "right"),
        ("placebo", "right"),
        ("noise", "right"),
        ("SROCC → adv", "left"),
        ("cells", "right"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    previous = ""
    for row in rows:
        table.add_row(row.metric if row.metric != previous else "", *_cells(row))
        previous = row.metric
    return table


def _cells(row: PairRow) -> list[str]:
    count = str(sum(row.counts.values()))
    if row.worst is None:
        return [row.defense, LABELS[row.verdict], "–", "", "", "", "", "", "", count]
    worst = row.worst
    value, low, high = worst["measures"]["d_score"]
    bounds = f"{low:.1f}–{high:.1f}" if low is not None and high is not None else "unknown"
    return [
        row.defense,
        LABELS[row.verdict],
        f"{worst['attack']}/{worst['strength']}, {worst['scenario']}",
        f"{value:.1f}",
        bounds,
        effect_of(worst),
        f"{measure_of(worst, 'd_score_placebo'):.1f}",
        spoken_noise(worst),
        f"{measure_of(worst, 'srocc_clear'):.2f} → {measure_of(worst, 'srocc_adv'):.2f}",
        count,
    ]


def _rendered(table: Table) -> list[str]:
    buffer = io.StringIO()
    Console(file=buffer, width=_WIDTH, color_system=None).print(table)
    return [line.rstrip() for line in buffer.getvalue().splitlines() if line.strip()]
