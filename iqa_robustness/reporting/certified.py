"""The tables of certified defenses: what is guaranteed, what is left of the score, and whether certificates hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.reporting.results import Outcome, measure_of

VACUOUS, ELSEWHERE = "†", "‡"
NOTES = {
    VACUOUS: "vacuous: Cert.RD is above the spread of the clean scores (5th to 95th percentile); a bound that wide "
    "tells no image from another",
    ELSEWHERE: "certified at another resolution than the images have: a radius there is no radius of the image itself, "
    "and is not to be compared with the others",
}
"""What the marks mean."""

ABOUT = (
    "R (certified l2 radius, units of 1): higher is better. Cert.RD (larger side of the certified interval ÷ range): "
    "lower is better. A certificate speaks of the ideal smoothed metric, not of the sampled estimate that is scored, "
    "and of one image: each is wrong with a chance of at most alpha. 'All at once' holds for all images of the cell "
    "together (Bonferroni). A dash: a class has no interval, a median no class. With each mean, its 95 % interval over "
    "contents."
)


@dataclass(frozen=True, kw_only=True)
class Number:
    """A measure as a table shows it.

    value: `0.013`, `–` where there is none.      bounds: `0.011, 0.015`, empty without an interval.
    mark: `VACUOUS`, `ELSEWHERE` or empty.
    """

    value: str
    bounds: str = ""
    mark: str = ""

    def __str__(self) -> str:
        """`0.013 † [0.011, 0.015]`."""
        return " ".join(part for part in (self.value, self.mark, f"[{self.bounds}]" if self.bounds else "") if part)


COLUMNS = (
    ("cert_r", "R, higher is better", 3, 1),
    ("cert_r_familywise", "R, all at once", 3, 1),
    ("cert_rd", "Cert.RD, lower is better", 3, 1),
    ("cert_rd_familywise", "Cert.RD, all at once", 3, 1),
    ("abstain", "abstains, %", 0, 100),
    ("srocc_clear", "SROCC clear", 2, 1),
    ("srocc_adv", "SROCC adv", 2, 1),
    ("d_score_defended", "D^(D), % of range", 1, 1),
)
"""Measure, heading, digits and factor of each column of the table of certified defenses."""

ATTACKED_COLUMNS = (
    ("cert_share", "certified at the attack's l2 size, %", 0, 100),
    ("same_class", "same class as clean, %", 0, 100),
    ("cert_width", "width ÷ range, lower is better", 3, 1),
    ("sampling_error", "sampling error, % of range", 2, 1),
    ("vote_error", "sampling error, % of votes", 1, 1),
)
"""The same of the table that sets certificates beside attacks."""

SOUND_COLUMNS = (
    ("gain_defended", "moved inside, % of range", 2, 1),
    ("sampling_error", "sampling error, % of range", 2, 1),
    ("vote_error", "sampling error, % of votes", 1, 1),
    ("broken_p", "p", 3, 1),
)
"""The same of the table of soundness cells."""


@dataclass(frozen=True, kw_only=True)
class CertifiedRow:
    """A cell of a certified defense under attack.

    attack: with strength, scenario and direction.      numbers: of `COLUMNS`.      beside: of `ATTACKED_COLUMNS`.
    """

    metric: str
    defense: str
    attack: str
    numbers: tuple[Number, ...]
    beside: tuple[Number, ...]

    @property
    def marks(self) -> set[str]:
        """That its numbers bear."""
        return {number.mark for number in (*self.numbers, *self.beside)} - {""}


@dataclass(frozen=True, kw_only=True)
class SoundRow:
    """A soundness cell.

    broken, tested: certificates.      numbers: of `SOUND_COLUMNS`.
    """

    metric: str
    defense: str
    goal: str
    broken: int
    tested: int
    numbers: tuple[Number, ...]


def certified_rows(cells: Iterable[Outcome]) -> list[CertifiedRow]:
    """One row for each cell with certificates under attack, by metric, defense, scenario, attack and strength."""
    found = [cell for cell in cells if "cert_r" in cell["measures"]]
    order = {name: place for place, name in enumerate(STRENGTHS)}
    found.sort(key=lambda c: (c["metric"], c["defense"], c["scenario"], c["attack"], order.get(c["strength"], 9)))
    return [
        CertifiedRow(
            metric=cell["metric"],
            defense=cell["defense"],
            attack=_attack(cell),
            numbers=_numbers(cell, COLUMNS),
            beside=_numbers(cell, ATTACKED_COLUMNS),
        )
        for cell in found
    ]


def sound_rows(cells: Iterable[Outcome]) -> list[SoundRow]:
    """One row for each soundness cell, by metric and defense; raising before lowering."""
    found = [cell for cell in cells if "tested" in cell["certificate"]]
    found.sort(key=lambda cell: (cell["metric"], cell["defense"], cell["goal"] != "raise"))
    return [
        SoundRow(
            metric=cell["metric"],
            defense=cell["defense"],
            goal=cell["goal"],
            broken=cell["certificate"]["broken"],
            tested=cell["certificate"]["tested"],
            numbers=_numbers(cell, SOUND_COLUMNS),
        )
        for cell in found
    ]


def is_vacuous(cell: Outcome, name: str = "cert_rd") -> bool:
    """Whether a certified delta, a share of the range, is above the spread of the clean scores, per cent of it."""
    return 100 * measure_of(cell, name) > measure_of(cell, "spread")


def notes_of(rows: Sequence[CertifiedRow]) -> dict[str, str]:
    """The marks that some row bears, with what they mean."""
    borne = {mark for row in rows for mark in row.marks}
    return {mark: text for mark, text in NOTES.items() if mark in borne}


def certified_lines(cells: Sequence[Outcome]) -> list[str]:
    """For a terminal: each pair's weakest certificate under attack, and what attacks inside the radii broke."""
    lines = []
    certified = [cell for cell in cells if "cert_r" in cell["measures"]]
    for pair in sorted({(cell["metric"], cell["defense"]) for cell in certified}):
        own = [cell for cell in certified if (cell["metric"], cell["defense"]) == pair]
        weakest = min(own, key=lambda cell: (measure_of(cell, "cert_r"), -_known(measure_of(cell, "cert_rd"))))
        r, together, delta, _, abstains, clear, _, _ = _numbers(weakest, COLUMNS)
        lines.append(
            f"certified: {pair[0]} behind {pair[1]}, {_attack(weakest)}: R {r} (higher is better), all images at once "
            f"{together}; Cert.RD {delta} (lower is better); abstains {abstains} %; SROCC clear {clear}"
        )
    for mark, text in notes_of(certified_rows(cells)).items():
        lines.append(f"  {mark} {text}")
    for row in sound_rows(cells):
        lines.append(
            f"soundness: {row.metric} behind {row.defense}, {row.goal}: {row.broken} of {row.tested} certificates "
            f"broken inside their radii (p = {row.numbers[-1].value})"
        )
    return lines


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _attack(cell: Outcome) -> str:
    lowering = "" if cell["goal"] == "raise" else ", lowering"
    return f"{cell['attack']}/{cell['strength']}, {cell['scenario']}{lowering}"


def _numbers(cell: Outcome, columns: Sequence[tuple[str, str, int, int]]) -> tuple[Number, ...]:
    return tuple(_number(cell, name, digits, factor) for name, _, digits, factor in columns)


def _number(cell: Outcome, name: str, digits: int, factor: int) -> Number:
    found = cell["measures"].get(name)
    if found is None or found[0] is None:
        return Number(value="–")
    value, low, high = found
    bounds = f"{factor * low:.{digits}f}, {factor * high:.{digits}f}" if None not in (low, high) else ""
    mark = ""
    if name in ("cert_rd", "cert_rd_familywise") and is_vacuous(cell, name):
        mark = VACUOUS
    if name in ("cert_r", "cert_r_familywise") and cell["certificate"].get("resolution") is not None:
        mark = ELSEWHERE
    return Number(value=f"{factor * value:.{digits}f}", bounds="" if name == "broken_p" else bounds, mark=mark)
