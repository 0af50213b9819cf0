"""The best parameter of a defense, chosen on some images and reported on others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.leaderboard_aggregate import Aggregate, aggregated
from iqa_robustness.reporting.leaderboard_board import Board, Contestant, Task, differing_fields
from iqa_robustness.store import Record

SEED = 0
# With fewer a half says nothing of other images.
LEAST_CONTENTS = 2
HIGHER_IS_BETTER = {"srocc_adv": True, "d_score": False}
"""Measures that a parameter can be chosen by."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A chosen preset.

    measure: it was chosen by.      chosen: best on the selection half, the first by name among equals.
    on_selection, on_report: by preset, on each half; the chosen one's number on the selection half flatters it.
    best_on_report: what would have been chosen had one looked; it need not be the chosen one.
    """

    measure: str
    chosen: str
    best_on_report: str
    on_selection: Mapping[str, Aggregate]
    on_report: Mapping[str, Aggregate]

    @property
    def optimism(self) -> float:
        """How much better the chosen one looks where it was chosen, in the measure's unit."""
        seen, held_out = self.on_selection[self.chosen].mean, self.on_report[self.chosen].mean
        return seen - held_out if HIGHER_IS_BETTER[self.measure] else held_out - seen


def is_for_selection(content: str, *, seed: int = SEED) -> bool:
    """Whether a content belongs to the half that presets are chosen on: a seeded hash says so, for every run alike."""
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()[0] % 2 == 0


def selected_on_held_out(
    presets: Mapping[str, Mapping[Task, Record]], *, measure: str, seed: int = SEED
) -> Selection | None:
    """Choose the best preset on one half of the contents and report all of them on the other.

    The same photographs are never on both sides, and presets are compared on tasks that all of them have. The published
    tables choose and report on the same images, which flatters what has more presets to choose from.

    Args:
        presets: records by preset's name, of one scenario.
        measure: one of `HIGHER_IS_BETTER`.
        seed: of the hash that splits contents.

    Returns:
        None with fewer than two presets, without a common task, or where a half has too few contents or no number.

    Raises:
        ConfigurationError: a measure that nothing is chosen by.
    """
    if measure not in HIGHER_IS_BETTER:
        known = ", ".join(HIGHER_IS_BETTER)
        raise ConfigurationError(f"presets are not chosen by {measure!r}", fix=f"choose by one of {known}")
    common = set.intersection(*(set(records) for records in presets.values())) if presets else set()
    if len(presets) < 2 or not common:
        return None
    halves = []
    for wanted in (True, False):
        parts = {
            name: {task: half_of(records[task], wanted, seed) for task in sorted(common)}
            for name, records in presets.items()
        }
        if any(len({*part.contents}) < LEAST_CONTENTS for own in parts.values() for part in own.values()):
            return None
        found = {name: aggregated(measure, own) for name, own in parts.items()}
        known_ones = {name: one for name, one in found.items() if one is not None and not math.isnan(one.mean)}
        if len(known_ones) < len(presets):
            return None
        halves.append(known_ones)
    on_selection, on_report = halves
    return Selection(
        measure=measure,
        chosen=_best(on_selection, measure),
        best_on_report=_best(on_report, measure),
        on_selection=on_selection,
        on_report=on_report,
    )


def presets_of(board: Board) -> dict[str, list[Contestant]]:
    """By class, contestants that differ in plain parameters alone, two or more; compositions are no presets."""
    families: dict[str, list[Contestant]] = {}
    for one in board.contestants:
        families.setdefault(one.family, []).append(one)
    return {family: members for family, members in families.items() if len(members) > 1 and _plain(members)}


def varied_parameter(members: Iterable[Contestant]) -> str:
    """The parameter that alone tells presets apart, where it is a number; empty otherwise."""
    listed = [*members]
    differing = differing_fields(one.fields for one in listed)
    numbers = len(differing) == 1 and all(_is_number(one.fields.get(differing[0])) for one in listed)
    return differing[0] if numbers else ""


def _plain(members: list[Contestant]) -> bool:
    differing = differing_fields(one.fields for one in members)
    values = [one.fields.get(name) for one in members for name in differing]
    return bool(differing) and all(value is None or isinstance(value, bool | int | float | str) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def half_of(record: Record, for_selection: bool, seed: int = SEED) -> Record:
    """The images of a record whose contents are chosen on, or those that are reported."""
    rows = [is_for_selection(content, seed=seed) == for_selection for content in record.contents]
    return Record(images=record.images[rows].reset_index(drop=True), meta=record.meta)


def _best(found: Mapping[str, Aggregate], measure: str) -> str:
    sign = -1 if HIGHER_IS_BETTER[measure] else 1
    return min(sorted(found), key=lambda name: sign * found[name].mean)
