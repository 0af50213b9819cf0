"""Outcomes of cells, ordered and counted for people; the tidy table behind every report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.gate.worst_case import WorstCase

Outcome = dict[str, Any]
"""One cell's outcome, as the plugin sends it from a worker to the controller."""

LABELS = {
    "pass": "pass",
    "weakness": "known weakness",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "invalid": "invalid",
    "missing": "missing",
    "gone": "weakness gone",
    "expired": "waiver expired",
    "informing": "reported",
}
NONADAPTIVE_ONLY = "non-adaptive only"
# From bad to good: a pair is as good as its worst cell.
SEVERITY = ("fail", "expired", "missing", "invalid", "inconclusive", "gone", "weakness", "pass", "informing")
# Who made the worst image of an adaptive cell, in the order in which it is said.
_SEARCHES = ("adaptive", "transferred", "queried")


def label(cell: Outcome) -> str:
    """The verdict's key in `LABELS`: a declared weakness that shows is no failure, one that is gone is."""
    if cell["expected"]:
        return "weakness"
    if cell["waiver_expired"] and cell["status"] in ("pass", "fail", "inconclusive"):
        return "expired"
    if cell["weakness"] and cell["status"] == "pass":
        return "gone"
    return str(cell["status"])


def is_control(cell: Outcome) -> bool:
    """Whether the cell judges the harness itself: a subject planted to be weak, degenerate or robust."""
    return is_planted(cell["metric"])


def shown_worst_cases(found: Iterable[WorstCase]) -> list[WorstCase]:
    """Those of real metrics, by metric, defense, scenario, goal, and from the least strength to the greatest."""
    order = {name: place for place, name in enumerate(STRENGTHS)}
    judged = [worst for worst in found if not is_planted(worst.subject[0])]
    return sorted(judged, key=lambda w: (*w.subject[:4], order.get(w.subject[4], len(order)), w.subject[4]))


def is_planted(metric: object) -> bool:
    """Whether the name is that of a metric which stands for a known behaviour, to judge the harness by."""
    return str(metric).startswith("iqa_robustness.metrics.planted:")


def measure_of(cell: Outcome, name: str) -> float:
    """A measure's value, NaN where the cell has none."""
    found = cell["measures"].get(name)
    return float("nan") if found is None or found[0] is None else float(found[0])


def effect_of(cell: Outcome) -> str:
    """The column `÷ SD` that stands beside every D_score: the mean shift in standard deviations of the clean scores.

    It does not depend on the declared range, so a range that is too wide cannot hide a shift from it. `–` where the
    clean scores do not differ at all.
    """
    value = measure_of(cell, "effect_size")
    return "–" if math.isnan(value) else f"{value:.2f}"


def number_of(cell: Outcome, name: str, digits: int = 2) -> str:
    """A measure's value for a table, `–` where the cell has none."""
    value = measure_of(cell, name)
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def undefended_attacks(cells: Iterable[Outcome]) -> list[Outcome]:
    """The cells that say what outlasts an encoder and what a single entrant climbs, by metric, attack and budget."""
    chosen = [cell for cell in cells if cell["scenario"] == "nonadaptive" and cell["defense"] == "none"]
    strengths = {name: place for place, name in enumerate(STRENGTHS)}
    return sorted(
        chosen, key=lambda c: (c["metric"], c["attack"], strengths.get(c["strength"], len(strengths)), c["goal"])
    )


def spoken_noise(cell: Outcome) -> str:
    """The column `noise` beside D_score: what it reads where the same clean images are scored twice."""
    value = measure_of(cell, "d_score_noise")
    return "–" if math.isnan(value) else f"{value:.1f}"


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A metric behind a defense, over all its cells.

    verdict: of the worst cell.      counts: cells by label.
    worst: the attacked cell with the largest D_score, transfers left out, None where there is none.
    nonadaptive_only: it was attacked, but never by who knows the defense.
    """

    metric: str
    defense: str
    verdict: str
    counts: dict[str, int]
    worst: Outcome | None
    nonadaptive_only: bool = False

    @property
    def labelled(self) -> str:
        """The defense, with what limits the row's meaning."""
        return f"{self.defense} ({NONADAPTIVE_ONLY})" if self.nonadaptive_only else self.defense


def pair_rows(cells: Iterable[Outcome]) -> list[PairRow]:
    """One row for each (metric, defense), sorted by name with `none` first."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for cell in cells:
        groups[cell["metric"], cell["defense"]].append(cell)
    rows = []
    for metric, defense in sorted(groups, key=lambda pair: (pair[0], pair[1] != "none", pair[1])):
        members = groups[metric, defense]
        attacked = [cell for cell in members if "d_score" in cell["measures"] and not cell["source"]]
        rows.append(
            PairRow(
                metric=metric,
                defense=defense,
                verdict=min((label(cell) for cell in members), key=SEVERITY.index),
                counts=counted(members),
                worst=max(attacked, key=lambda cell: measure_of(cell, "d_score"), default=None),
                nonadaptive_only=defense != "none"
                and bool(attacked)
                and all(cell["scenario"] != "adaptive" for cell in attacked),
            )
        )
    return rows


@dataclass(frozen=True, kw_only=True)
class AdaptiveRow:
    """How a pair was attacked by who knows the defense, over its adaptive cells.

    protocols: of the attacks.      scoring: of the scores.      noise: largest D_score of noise alone, % of range.
    sources: share of the images whose worst one each attack made.   queried_images: most that a black-box attack had.
    """

    metric: str
    defense: str
    protocols: str
    scoring: str
    sources: str
    queried_images: int
    noise: float


def adaptive_rows(cells: Iterable[Outcome]) -> list[AdaptiveRow]:
    """One row for each (metric, defense) with adaptive cells, sorted by name."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for cell in cells:
        if cell["sources"]:
            groups[cell["metric"], cell["defense"]].append(cell)
    rows = []
    for (metric, defense), members in sorted(groups.items()):
        images = sum(cell["images"] for cell in members)
        names = [*dict.fromkeys(name for cell in members for name in cell["sources"]["shares"])]
        totals = {
            name: sum(cell["images"] * cell["sources"]["shares"].get(name, 0.0) for cell in members) / images
            for name in names
        }
        noises = [measure_of(cell, "d_score_noise") for cell in members]
        rows.append(
            AdaptiveRow(
                metric=metric,
                defense=defense,
                protocols=", ".join(sorted({cell["protocol"]["attack"] for cell in members})),
                scoring=", ".join(sorted({cell["protocol"]["scoring"] for cell in members})),
                sources=spoken_shares(totals),
                queried_images=max(cell["sources"]["queried_images"] for cell in members),
                noise=max((noise for noise in noises if not math.isnan(noise)), default=math.nan),
            )
        )
    return rows


def spoken_shares(shares: Mapping[str, float]) -> str:
    """`adaptive 93 %, transferred 5 %, queried 2 %`, in this order wherever the shares were kept in between."""
    ordered_names = sorted(shares, key=lambda name: (_SEARCHES.index(name) if name in _SEARCHES else 9, name))
    return ", ".join(f"{name} {100 * shares[name]:.0f} %" for name in ordered_names)


def counted(cells: Iterable[Outcome]) -> dict[str, int]:
    """Cells by label, in order of `SEVERITY`, only what occurs."""
    labels = [label(cell) for cell in cells]
    return {name: labels.count(name) for name in SEVERITY if name in labels}


def repairs_of(cells: Iterable[Outcome]) -> list[str]:
    """Which damaged entries of the store were set aside and computed again, each once."""
    return list(dict.fromkeys(what for cell in cells for what in cell.get("repaired", ())))


def several(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spoken_counts(counts: dict[str, int]) -> str:
    """`2 fail, 1 known weakness, 5 pass`."""
    return ", ".join(f"{number} {LABELS[name]}" for name, number in counts.items())


def ordered(cells: Sequence[Outcome]) -> list[Outcome]:
    """Worst verdict first, then by name."""
    return sorted(cells, key=lambda cell: (SEVERITY.index(label(cell)), cell["name"]))


def results_table(cells: Sequence[Outcome], worst_cases: Sequence[WorstCase] = ()) -> pd.DataFrame:
    """One row a cell: axes, verdict, every measure with its bounds (NAME, NAME_low, NAME_high), counts, record.

    A worst case is a row with the attack `worst-case`, its gain, and its attribution as the reason.
    """
    rows = []
    for cell in sorted(cells, key=lambda cell: str(cell["name"])):
        row = {
            key: cell[key]
            for key in ("metric", "defense", "attack", "strength", "scenario", "goal", "status", "weakness", "tier")
        }
        row |= {"source": cell["source"]}
        row |= {"verdict": label(cell), "images": cell["images"], "mos_kind": cell["mos_kind"]}
        row |= {f"protocol_{name}": text for name, text in cell["protocol"].items()}
        row |= {f"worst_{name}": share for name, share in cell["sources"].get("shares", {}).items()}
        for name, (value, low, high) in sorted(cell["measures"].items()):
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        for mixture in cell["mixtures"]:
            name = f"srocc_mixed_{mixture['truth']}_{100 * mixture['share']:.0f}"
            for state in ("defended", "undefended"):
                value, low, high = mixture[state]
                row |= {f"{name}_{state}": value, f"{name}_{state}_low": low, f"{name}_{state}_high": high}
        row |= {f"certificate_{name}": fact for name, fact in cell["certificate"].items()}
        for step, facts in cell["cost"].items():
            row |= {f"{step}_{unit}": facts[unit] for unit in ("milliseconds", "mebibytes") if unit in facts}
        rows.append(row | {"record": cell["record"], "seconds": cell["seconds"]})
    for worst in worst_cases:
        axes = dict(zip(("metric", "defense", "scenario", "goal", "strength"), worst.subject, strict=True))
        gain = {"gain": worst.gain.value, "gain_low": worst.gain.low, "gain_high": worst.gain.high}
        rows.append({**axes, "attack": "worst-case", "images": worst.images, "attribution": worst.attributed, **gain})
    return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Gain against budget of one attack on one target.

    limits: budgets, ascending, in the restriction's unit.   gains: per cent of the range, with bounds.
    """

    attack: str
    limits: list[float]
    gains: list[tuple[float, float, float]]


def security_curves(cells: Iterable[Outcome]) -> dict[tuple[str, str, str, str], list[Curve]]:
    """By metric, defense, scenario and restriction, the curves of the attacks that raise, with two budgets or more."""
    points: dict[tuple[str, str, str, str], dict[str, dict[float, tuple[float, float, float]]]] = {}
    for cell in cells:
        gain = cell["measures"].get("gain")
        if not cell["budget"] or cell["source"] or cell["goal"] != "raise" or gain is None or gain[0] is None:
            continue
        value, low, high = (float("nan") if number is None else float(number) for number in gain)
        target = (cell["metric"], cell["defense"], cell["scenario"], cell["budget"]["restriction"])
        attack = points.setdefault(target, {}).setdefault(cell["attack"], {})
        attack[float(cell["budget"]["limit"])] = (value, low, high)
    curves = {
        target: [
            Curve(attack=name, limits=sorted(found), gains=[found[limit] for limit in sorted(found)])
            for name, found in sorted(attacks.items())
            if len(found) > 1
        ]
        for target, attacks in sorted(points.items())
    }
    return {target: found for target, found in curves.items() if found}
