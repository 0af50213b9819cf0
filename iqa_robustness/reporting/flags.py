"""What limits the meaning of a run's verdicts, said before its numbers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iqa_robustness.gate.power import run_failures
from iqa_robustness.reporting.certified import is_vacuous
from iqa_robustness.reporting.results import NONADAPTIVE_ONLY, Outcome, PairRow, several

PSEUDO, VACUOUS = "pseudo opinion scores", "vacuous certificate"
# What a measure says of itself that too few images were there for (`gate.measurements`).
_TOO_FEW = re.compile(r"reported only: (?P<images>\d+) images, (?P<needed>\d+) are needed to gate on it")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One caution.

    title: a few words.      text: what it means.      about: the cells, pairs or measures that it is about.
    """

    title: str
    text: str
    about: tuple[str, ...] = ()


def run_flags(cells: Sequence[Outcome], pairs: Iterable[PairRow]) -> list[Flag]:
    """The cautions of a run; none where nothing limits it."""
    flags = []
    pseudo = sum(cell["mos_kind"] == "pseudo" for cell in cells)
    if pseudo:
        flags.append(
            Flag(
                title=f"Opinion scores are pseudo ({several(pseudo, 'cell')})",
                text="A formula gave them, no people: they gate this data set's own run and enter no leaderboard.",
            )
        )
    unknown = tuple(f"{pair.metric} behind {pair.defense}" for pair in pairs if pair.nonadaptive_only)
    if unknown:
        flags.append(
            Flag(
                title=f"{NONADAPTIVE_ONLY.capitalize()} ({several(len(unknown), 'pair')})",
                text="No attack of this run knew the defense: what holds against them may fall to one that does.",
                about=unknown,
            )
        )
    flags += _chance(cells) + _not_gated(cells)
    vacuous = tuple(cell["name"] for cell in cells if is_vacuous(cell))
    if vacuous:
        flags.append(
            Flag(
                title=f"Vacuous certificates ({several(len(vacuous), 'cell')})",
                text="Cert.RD is above the spread of the clean scores: a bound that wide tells no image from another.",
                about=vacuous,
            )
        )
    if len(machines := numerics(cells)) > 1:
        flags.append(
            Flag(
                title="Computed in different ways",
                text="Scores of different devices or versions differ in their last digits.",
                about=tuple(machines),
            )
        )
    return flags


def cell_flags(cell: Outcome, nonadaptive_only: frozenset[tuple[str, str]]) -> list[str]:
    """Those of one cell, in a few words each.

    Args:
        cell: to be flagged.
        nonadaptive_only: metric and defense of the pairs that nobody attacked who knows the defense.
    """
    found = {
        PSEUDO: cell["mos_kind"] == "pseudo",
        NONADAPTIVE_ONLY: (cell["metric"], cell["defense"]) in nonadaptive_only,
        VACUOUS: is_vacuous(cell),
    }
    return [name for name, applies in found.items() if applies]


def numerics(cells: Iterable[Outcome]) -> dict[str, int]:
    """`cpu, float32, torch 2.7.1, micro-batch 4` and how many cells were computed so, most first."""
    return dict(Counter(_spoken(cell["numerics"]) for cell in cells if cell["numerics"]).most_common())


def datasets(cells: Iterable[Outcome]) -> dict[str, int]:
    """`mini, digest 0123456789ab` and how many cells are about it, most first."""
    known = [cell["dataset"] for cell in cells if cell["dataset"]]
    return dict(Counter(f"{data['name']}, digest {data['digest'][:12]}" for data in known).most_common())


def _spoken(document: Mapping[str, object]) -> str:
    return "{device}, {dtype}, torch {torch}, micro-batch {micro_batch}".format(**document)


def _chance(cells: Sequence[Outcome]) -> list[Flag]:
    failures = run_failures(cells)
    if failures is None or not failures.doubtful:
        return []
    return [
        Flag(
            title=f"Failures that may be chance ({several(len(failures.doubtful), 'check')})",
            text=f"{failures}. All stay red; more images would tell.",
            about=failures.doubtful,
        )
    ]


def _not_gated(cells: Iterable[Outcome]) -> list[Flag]:
    """Of the measures that were reported although no threshold could apply to them: too few images first."""
    few: set[int] = set()
    needed: dict[str, int] = {}
    others: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for name, note in cell["notes"].items():
            if found := _TOO_FEW.fullmatch(note):
                few.add(int(found["images"]))
                needed[name] = int(found["needed"])
            else:
                others[note].add(name)
    flags = []
    if few:
        images = f"{min(few)} to {max(few)}" if len(few) > 1 else str(*few)
        flags.append(
            Flag(
                title=f"Not gated ({several(len(needed), 'measure')})",
                text=f"Reported only: {images} images a cell are too few to gate. In brackets, how many are needed.",
                about=tuple(f"{name} ({count})" for name, count in sorted(needed.items())),
            )
        )
    for note, names in sorted(others.items()):
        flags.append(
            Flag(
                title=f"Not gated ({several(len(names), 'measure')})",
                text=f"{note[:1].upper()}{note[1:]}.",
                about=tuple(sorted(names)),
            )
        )
    return flags
