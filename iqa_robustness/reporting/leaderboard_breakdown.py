"""What stands beside means: each attack, each metric, medians and ranks, presets, and the certainty of places."""

from __future__ import annotations

import statistics
from typing import Any

from scipy.stats import rankdata

from iqa_robustness.reporting.leaderboard_aggregate import aggregated
from iqa_robustness.reporting.leaderboard_board import Board
from iqa_robustness.reporting.leaderboard_ranking import Ranking
from iqa_robustness.reporting.leaderboard_selection import (
    HIGHER_IS_BETTER,
    Selection,
    presets_of,
    selected_on_held_out,
)
from iqa_robustness.reporting.leaderboard_table import Column, Table

SPOKEN = {
    "nonadaptive": "non-adaptive attacks",
    "adaptive": "adaptive attacks",
    "certified": "certified defenses under attack",
}
_MEASURES = {"srocc_adv": "highest SROCC_adv", "d_score": "lowest D_score"}


def attack_table(board: Board, scenario: str) -> Table:
    """D_score of every defense under each attack and strength, metrics averaged."""
    members = board.taking_part(scenario)
    rows: list[dict[str, Any]] = []
    for cell in dict.fromkeys(task.cell for task in board.tasks[scenario]):
        row: dict[str, Any] = {"attack": cell[0], "strength": cell[1]}
        for one in members:
            own = {task: record for task, record in board.of(one.name, scenario).items() if task.cell == cell}
            found = aggregated("d_score", own)
            row[one.name] = found.interval if found is not None else None
        rows.append(row)
    columns = [Column(key="attack", heading="attack", plain=True)]
    columns += [Column(key="strength", heading="strength", plain=True)]
    columns += [Column(key=one.name, heading=one.name, digits=1) for one in members]
    return Table(
        name=f"attacks-{scenario}",
        title=f"D_score by attack, {SPOKEN[scenario]}",
        columns=tuple(columns),
        rows=tuple(rows),
        about="Per cent of the range, mean over metrics; below it, its 95 % interval over contents.",
    )


def by_metric_table(board: Board, scenario: str) -> Table:
    """D_score and place of every defense on each metric: one metric can dominate a mean, and no median or rank."""
    members = board.taking_part(scenario)
    rows: list[dict[str, Any]] = []
    for one in members:
        records = board.of(one.name, scenario)
        whole = aggregated("d_score", records)
        row: dict[str, Any] = {"defense": one.name}
        row |= {"mean": whole.mean if whole else None, "median": whole.median if whole else None}
        for metric in board.metrics:
            found = aggregated("d_score", {task: r for task, r in records.items() if task.metric == metric})
            row[metric] = found.mean if found else None
        rows.append(row)
    ranked = [metric for metric in board.metrics if any(row[metric] is not None for row in rows)]
    for metric in ranked:
        every = {task for task in board.tasks[scenario] if task.metric == metric}
        having = [row for row in rows if row[metric] is not None and every <= {*board.of(row["defense"], scenario)}]
        for row, rank in zip(having, rankdata([row[metric] for row in having]), strict=True):
            row[f"{metric} rank"] = f"{rank:g}"
            row.setdefault("ranks", []).append(float(rank))
    for row in rows:
        ranks = row.pop("ranks", [])
        row["mean_rank"] = statistics.fmean(ranks) if len(ranks) == len(ranked) else None
        row["median_rank"] = statistics.median(ranks) if len(ranks) == len(ranked) else None
    columns = [Column(key="defense", heading="defense", plain=True)]
    columns += [Column(key="mean", heading="mean", digits=1), Column(key="median", heading="median", digits=1)]
    columns += [Column(key="mean_rank", heading="mean rank"), Column(key="median_rank", heading="median rank")]
    for metric in ranked:
        columns += [Column(key=metric, heading=metric, digits=1), Column(key=f"{metric} rank", heading="rank")]
    return Table(
        name=f"by-metric-{scenario}",
        title=f"D_score by metric, {SPOKEN[scenario]}",
        columns=tuple(columns),
        rows=tuple(rows),
        about="Per cent of the range. The mean is that of the table of defenses; the median is over all cells of all "
        "metrics. Ranks are given on each metric, 1 for the least shift, to those with all of its cells, and averaged "
        "over metrics.",
    )


def ranking_table(found: Ranking) -> Table:
    """The places of a scenario with their intervals and groups."""
    test = found.test
    rows = [
        {
            "defense": place.name,
            "d_score": place.d_score,
            "rank": place.rank,
            "mean_rank": place.mean_rank,
            "groups": place.groups or "·",
        }
        for place in found.places
    ]
    unranked = ", ".join(f"{name} (lacks {count} of {found.tasks})" for name, count in found.unranked.items())
    difference = (
        f"Mean ranks over {test.contents} contents that are closer than {test.difference:.2f} do not differ "
        f"(Friedman's test: p = {test.p:.2g}; Nemenyi's critical difference at 95 % for all pairs together, Demšar "
        "2006): such defenses share a letter. A dot differs from all others."
    )
    return Table(
        name=f"ranking-{found.scenario}",
        title=f"Ranking, {SPOKEN[found.scenario]}",
        columns=(
            Column(key="rank", heading="place, 95 % of resamples"),
            Column(key="defense", heading="defense", plain=True),
            Column(key="d_score", heading="D_score, %", digits=1),
            Column(key="mean_rank", heading="mean rank over contents"),
            Column(key="groups", heading="groups", plain=True),
        ),
        rows=tuple(rows),
        about=f"By D_score over the same {found.tasks} (metric, attack, strength), places given anew in 2000 resamples "
        f"of contents. {difference}",
        notes=(f"not ranked: {unranked}",) if unranked else (),
    )


def selections(board: Board, scenario: str) -> dict[str, Selection]:
    """By class of a defense with several presets, the one chosen on held-out images."""
    measure = "d_score" if board.pseudo or scenario == "certified" else "srocc_adv"
    found = {}
    for family, members in presets_of(board).items():
        presets = {one.name: board.of(one.name, scenario) for one in members}
        presets = {name: records for name, records in presets.items() if records}
        chosen = selected_on_held_out(presets, measure=measure)
        if chosen is not None:
            found[family] = chosen
    return found


def selection_table(board: Board, scenario: str) -> Table:
    """Every preset on both halves, and which was chosen."""
    rows: list[dict[str, Any]] = []
    measure = "d_score"
    for found in selections(board, scenario).values():
        measure = found.measure
        for name in found.on_selection:
            flags = ["chosen"] * (name == found.chosen) + ["best on the others"] * (name == found.best_on_report)
            numbers = {"on_selection": found.on_selection[name], "on_report": found.on_report[name]}
            optimism = found.optimism if name == found.chosen else None
            rows.append({"preset": name, **numbers, "chosen": ", ".join(flags), "optimism": optimism})
    digits = 3 if HIGHER_IS_BETTER[measure] else 1
    return Table(
        name=f"selection-{scenario}",
        title=f"Best parameter, {SPOKEN[scenario]}",
        columns=(
            Column(key="preset", heading="preset", plain=True),
            Column(key="on_selection", heading="on the images it is chosen on", digits=digits),
            Column(key="on_report", heading="on the others", digits=digits),
            Column(key="chosen", heading="", plain=True),
            Column(key="optimism", heading="flattered by", digits=digits),
        ),
        rows=tuple(rows),
        about=f"The rule: a seeded hash of its content puts each image on one side. The preset with the "
        f"{_MEASURES[measure]} on the first side is chosen, and its number is the one on the other. The published "
        "tables choose and report on the same images. The tables above list every preset and choose none.",
    )
