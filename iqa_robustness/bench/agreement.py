"""Does the order of defenses that one data set shows hold on another?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.measures import Interval, mean_interval, srocc
from iqa_robustness.measures.disparity import shifts


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The defenses of one metric under one attack, on two data sets.

    defenses: in order of D_score on the first data set, the best first.
    first, second: D_score of each defense there, per cent of diam.
    srocc, kendall: rank correlations of the two orders; NaN with fewer than two defenses.
    confirmed: pairs of defenses whose difference has the same sign on both, beyond doubt on both (95 % intervals).
    reversed: pairs whose difference has opposite signs, beyond doubt on both.
    undecided: the other pairs: on one of the data sets at least, their difference may be chance.
    """

    metric: str
    attack: str
    strength: str
    scenario: str
    defenses: tuple[str, ...]
    first: tuple[Interval, ...]
    second: tuple[Interval, ...]
    srocc: float
    kendall: float
    confirmed: int
    reversed: tuple[tuple[str, str], ...]
    undecided: int


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What an attack does to each image behind one defense: |f(P(x')) − f(x)| in per cent of diam, and its content."""

    values: np.ndarray
    contents: tuple[str, ...]


def agreements(runner: LocalRunner, first: Sequence[Cell], second: Sequence[Cell]) -> Iterator[Agreement]:
    """Compare the orders of defenses of each (metric, attack, strength) that both data sets have.

    Args:
        runner: computes, or reads the store.
        first: cells with an attack, of one data set and one scenario.
        second: those of another data set.
    """
    groups = [_grouped(cells) for cells in (first, second)]
    for axes, cells in groups[0].items():
        others = groups[1].get(axes, {})
        defenses = [name for name in cells if name in others]
        if len(defenses) < 2:
            continue
        harms = [{name: _harm(runner, own[name]) for name in defenses} for own in (cells, others)]
        metric, attack, strength, scenario = axes
        yield compared(*harms, metric=metric, attack=attack, strength=strength, scenario=scenario)


def compared(
    first: Mapping[str, Harm], second: Mapping[str, Harm], *, metric: str, attack: str, strength: str, scenario: str
) -> Agreement:
    """The agreement of two data sets on the defenses that both are about.

    Args:
        first: by defense; all of the same images.
        second: the same defenses on other images.
        metric: a name.
        attack: a name.
        strength: a name.
        scenario: a name.
    """
    names = sorted(first, key=lambda name: (float(first[name].values.mean()), name))
    means = [[mean_interval(own[name].values, own[name].contents) for name in names] for own in (first, second)]
    signs = [_sure_signs(own, names) for own in (first, second)]
    pairs = [*combinations(names, 2)]
    agreed = [signs[0][pair] * signs[1][pair] for pair in pairs]
    values = [[one.value for one in side] for side in means]
    # SciPy warns of constant input and answers NaN, as srocc does.
    constant = any(len({*side}) < 2 for side in values)
    return Agreement(
        metric=metric,
        attack=attack,
        strength=strength,
        scenario=scenario,
        defenses=tuple(names),
        first=tuple(means[0]),
        second=tuple(means[1]),
        srocc=srocc(*values),
        kendall=float("nan") if constant else float(kendalltau(*values).statistic),
        confirmed=agreed.count(1),
        reversed=tuple(pair for pair, sign in zip(pairs, agreed, strict=True) if sign < 0),
        undecided=agreed.count(0),
    )


def _grouped(cells: Sequence[Cell]) -> dict[tuple[str, str, str, str], dict[str, Cell]]:
    found: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for cell in cells:
        found.setdefault((cell.metric, cell.attack, cell.strength, cell.scenario), {})[cell.defense] = cell
    return found


def _harm(runner: LocalRunner, cell: Cell) -> Harm:
    record = runner.record(cell)
    values = np.abs(shifts(record.scores("clean"), record.scores("defended_attacked"), diam=record.diam))
    return Harm(values=values, contents=tuple(str(name) for name in record.images["content"]))


def _sure_signs(harms: Mapping[str, Harm], names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Sign of the paired difference of each two defenses, 0 where its interval has 0 in it."""
    found = {}
    for first, second in combinations(names, 2):
        difference = mean_interval(harms[second].values - harms[first].values, harms[first].contents)
        found[first, second] = int(difference.low > 0) - int(difference.high < 0)
    return found
