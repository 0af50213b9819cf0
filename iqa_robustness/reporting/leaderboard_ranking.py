"""The places of defenses on a leaderboard, with what is certain about them."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from iqa_robustness.measures import CriticalDifference, RankInterval, bootstrap_ranks, critical_difference
from iqa_robustness.reporting.leaderboard_aggregate import image_table, value_of
from iqa_robustness.reporting.leaderboard_board import Board, Task
from iqa_robustness.store import Record

MEASURE = "d_score"
"""What is ranked: the mean shift of the score, which needs no opinions and exists for every defense."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One defense's.

    d_score: mean over its cells.      rank: by it, with its interval.      mean_rank: over contents.
    groups: letters; defenses that share one were not found to differ.
    """

    name: str
    d_score: float
    rank: RankInterval
    mean_rank: float
    groups: str


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Of the defenses in one scenario that took part in everything.

    places: best first.      test: that told groups apart.      tasks: (metric, attack, strength) that count.
    unranked: by name, of how many of these there is no record, or no number.
    """

    scenario: str
    places: tuple[Place, ...]
    test: CriticalDifference
    tasks: int
    unranked: Mapping[str, int]


def ranking(board: Board, scenario: str) -> Ranking | None:
    """The ranking of a scenario; None where fewer than two defenses can be compared."""
    tasks = board.tasks[scenario]
    unranked: dict[str, int] = {}
    ranked: dict[str, dict[Task, Record]] = {}
    for one in board.contestants:
        records = board.of(one.name, scenario)
        unknown = len(tasks) - sum(not math.isnan(value_of(MEASURE, record)) for record in records.values())
        if not unknown and records:
            ranked[one.name] = records
        elif records:
            unranked[one.name] = unknown
    if len(ranked) < 2:
        return None
    # As the published means: metrics within (attack, strength), then over these.
    cells = [task.cell for task in tasks]
    weights = {task: 1 / (len(set(cells)) * cells.count(task.cell)) for task in tasks}
    columns = []
    contents: dict[str, str] = {}
    for records in ranked.values():
        numbers, contents = image_table(MEASURE, records, weights)
        columns.append([numbers[image] for image in sorted(numbers)])
    values = np.array(columns).T
    clusters = [contents[image] for image in sorted(contents)]
    test, ranks = critical_difference(values, clusters), bootstrap_ranks(values, clusters)
    letters = _letters(test.groups, len(ranked))
    places = [
        Place(name=name, d_score=float(mean), rank=rank, mean_rank=mean_rank, groups=groups)
        for name, mean, rank, mean_rank, groups in zip(
            ranked, values.mean(axis=0), ranks, test.mean_ranks, letters, strict=True
        )
    ]
    return Ranking(
        scenario=scenario,
        places=tuple(sorted(places, key=lambda place: (place.d_score, place.name))),
        test=test,
        tasks=len(tasks),
        unranked=unranked,
    )


def _letters(groups: tuple[tuple[int, ...], ...], count: int) -> list[str]:
    """Each contestant's groups; one that is in none differs from all others and has no letter."""
    names = [*string.ascii_lowercase, *(f"{first}{second}" for first in "abc" for second in string.ascii_lowercase)]
    return [
        " ".join(name for name, group in zip(names, groups, strict=False) if place in group) for place in range(count)
    ]
