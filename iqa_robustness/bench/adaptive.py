"""The adaptive result of a cell: each image's worst of the adaptive, the transferred and the black-box attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iqa_robustness.attacks.base import Attack
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.columns import Columns
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.scoring_protocol import Scoring
from iqa_robustness.bench.sources import Clean, Picked, Source
from iqa_robustness.bench.stages import Stages, stored_images
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.store import Entry, document_of

ADAPTIVE, TRANSFERRED, QUERIED = "adaptive", "transferred", "queried"


@dataclass(frozen=True, kw_only=True)
class Search:
    """One attack on some images.

    name: `adaptive`, `transferred` or `queried`.
    adaptive: it attacks the defended metric.
    """

    name: str
    attack: Attack
    clean: Clean
    adaptive: bool

    def entry(self, cell: Cell, pair: Pair, stages: Stages) -> Entry:
        """Its adversarial stage."""
        goal, document = cell.goal, cell.document
        return stages.adversarial(self.attack, pair, self.clean, adaptive=self.adaptive, goal=goal, cell=document)

    def candidate(self, cell: Cell, pair: Pair, stages: Stages) -> Candidate:
        """What it found."""
        entry = self.entry(cell, pair, stages)
        found, source = stages.values(entry), stored_images(entry, self.clean)
        return Candidate(name=self.name, attack=self.attack, entry=entry, found=found, clean=self.clean, source=source)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What one search found.

    name: `adaptive`, `transferred` or `queried`.
    attack: that searched.
    entry: its adversarial stage.     found: the stage's columns.
    clean: the images it attacked.    source: what it made of them.
    """

    name: str
    attack: Attack
    entry: Entry
    found: Columns
    clean: Clean
    source: Source

    def rows(self, ids: Sequence[str]) -> list[int | None]:
        """Where each of some images is among those it attacked."""
        places = {name: row for row, name in enumerate(self.clean.ids)}
        return [places.get(name) for name in ids]

    @property
    def document(self) -> dict[str, Any]:
        """For a record: what searched, in which budget, and where its images are kept."""
        return {
            **document_of(self.attack),
            "restriction": self.attack.restriction,
            "limit": self.attack.budget.limit,
            "images": len(self.clean),
            "entry": self.entry.digest,
        }


@dataclass(frozen=True, kw_only=True)
class Worst:
    """For each image, the candidate whose image is worst for the defender.

    The scores it was chosen by are the largest of several: where they are random, what is reported has to be a fresh
    scoring of `source`, or noise would look like an attack.

    ids: of the cell's images.
    candidates: at least one; the first has all images, and wins ties.
    scores: by candidate, (N,) of the scoring that chose, NaN where it attacked no such image.
    winners: (N,) places in `candidates`.
    """

    ids: Sequence[str]
    candidates: Sequence[Candidate]
    scores: dict[str, np.ndarray]
    winners: Sequence[int]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], ids: Sequence[str], found: Sequence[np.ndarray], *, up: bool) -> Worst:
        """Choose by scores: one number for each image of each candidate, which the attacker wants up or down."""
        scores = {c.name: _aligned(own, c.rows(ids)) for c, own in zip(candidates, found, strict=True)}
        values = np.stack([scores[candidate.name] * (1 if up else -1) for candidate in candidates])
        winners = np.where(np.isnan(values), -np.inf, values).argmax(axis=0)
        return cls(ids=ids, candidates=candidates, scores=scores, winners=winners.tolist())

    @classmethod
    def chosen(
        cls, candidates: Sequence[Candidate], pair: Pair, cell: Cell, clean: Clean, stages: Stages, scoring: Scoring
    ) -> Worst:
        """Choose by scores whose noise is that of no other scoring."""
        found = [
            stages.scores(pair, one.source, one.clean, seed=cell.seed, scoring=scoring, noise="selection")["scores"]
            for one in candidates
        ]
        up = (cell.goal == "raise") == pair.subject.metric.spec.higher_is_better
        return cls.of(candidates, clean.ids, found, up=up)

    @property
    def names(self) -> list[str]:
        """The winner's name for each image."""
        return [self.candidates[winner].name for winner in self.winners]

    @property
    def source(self) -> Source:
        """The worst images; a candidate's own source where it wins all of them, so that its scores are shared."""
        if len(set(self.winners)) == 1 and self.candidates[self.winners[0]].clean.ids == [*self.ids]:
            return self.candidates[self.winners[0]].source
        return Picked([candidate.source for candidate in self.candidates], self._places, self.ids)

    def column(self, name: str) -> np.ndarray:
        """A column of the winners' adversarial stages, (N,)."""
        return np.array([self.candidates[winner].found[name][row] for winner, row in self._places])

    @property
    def _places(self) -> list[tuple[int, int]]:
        rows = [candidate.rows(self.ids) for candidate in self.candidates]
        found = [(winner, rows[winner][place]) for place, winner in enumerate(self.winners)]
        return [(winner, row) for winner, row in found if row is not None]


def choosing(pair: Pair, cell: Cell) -> Pair:
    """The pair that chooses the worst image: a certified defense does it with `n0` samples."""
    if not isinstance(pair.defense, Smoothing):
        return pair
    return Pair(pair.subject, pair.defense_name, n0=cell.n0, n=cell.n0)


def _aligned(values: np.ndarray, rows: Sequence[int | None]) -> np.ndarray:
    return np.array([np.nan if row is None else values[row] for row in rows])
