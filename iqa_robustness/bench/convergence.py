"""Whether an adaptive attack had enough steps and draws: what it gains with twice as many, on a few images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.bench.adaptive import Candidate, choosing
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.scoring_protocol import Scoring
from iqa_robustness.bench.sources import Clean, Picked, Source
from iqa_robustness.bench.stages import Stages, stored_images

# Fewer contents could show hardly any change beyond chance, more would cost what the attack itself does.
CONVERGENCE_IMAGES = 6
# Draws of a random pair's score here, whatever the cell's protocol: noise must not hide a change.
_DRAWS = 8


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """An attack with twice as much of something.

    what: `steps` or `draws`.      wants: `steps 20 instead of 10`.
    attack, draws: as doubled.
    """

    what: str
    wants: str
    attack: Attack
    draws: int


def doublings(attack: Attack, *, draws: int, stochastic: bool) -> list[Doubling]:
    """What there is to double: iterations, and the draws behind a gradient of a random target.

    Nothing of a query attack, whose budget is the profile's, nor of a trained one, which has learned beforehand.
    """
    if attack.access == "black-box" or isinstance(attack, TrainedAttack):
        return []
    found = []
    longer = attack.doubled()
    if longer is not None:
        found.append(Doubling(what="steps", wants=_changed(attack, longer), attack=longer, draws=draws))
    if stochastic:
        wants = f"eot-{2 * draws} instead of eot-{draws}"
        found.append(Doubling(what="draws", wants=wants, attack=attack, draws=2 * draws))
    return found


def convergence(candidate: Candidate, cell: Cell, pair: Pair, clean: Clean, stages: Stages) -> list[dict[str, Any]]:
    """Gains of the cell's adaptive attack on some of its images, as it is and with each thing doubled.

    Args:
        candidate: the adaptive attack's images of the whole cell.
        cell: gives goal, seed, draws and limits.
        pair: the target; a certified defense is scored with the few samples that choose.
        clean: a few of the cell's images.

    Returns:
        JSON for the record: `what`, `wants`, the store digest of the doubled attack's images, each one's `gains`
        and `doubled` gains in per cent of the range, towards the goal and from fresh noise, and `contents`.
    """
    spec = pair.subject.metric.spec
    stochastic = pair.guarded.spec.stochastic
    wanted = doublings(candidate.attack, draws=cell.draws, stochastic=stochastic)
    if not wanted:
        return []
    scorer = choosing(pair, cell)
    towards = 100 * spec.sign * (1 if cell.goal == "raise" else -1) / spec.diam

    def values(source: Source) -> np.ndarray:
        scoring = Scoring(draws=_DRAWS if stochastic else 1)
        columns = stages.scores(scorer, source, clean, seed=cell.seed, scoring=scoring, noise="convergence")
        return towards * columns["scores"]

    places = [(0, row) for row in candidate.rows(clean.ids) if row is not None]
    before, single = values(clean), values(Picked([candidate.source], places, clean.ids))
    found = []
    for doubling in wanted:
        limit = None if cell.max_forwards is None else 2 * cell.max_forwards
        document = {**cell.document, "draws": doubling.draws, "max_forwards": limit}
        entry = stages.adversarial(doubling.attack, pair, clean, adaptive=True, goal=cell.goal, cell=document)
        found.append(
            {
                "what": doubling.what,
                "wants": doubling.wants,
                "entry": entry.digest,
                "gains": _rounded(single - before),
                "doubled": _rounded(values(stored_images(entry, clean)) - before),
                "contents": [item.content for item in clean.view.items],
            }
        )
    return found


def _changed(attack: Attack, longer: Attack) -> str:
    """`steps 20 instead of 10`: whole numbers that differ."""
    before = {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)}
    after = {field.name: getattr(longer, field.name) for field in dataclasses.fields(longer)}
    return ", ".join(
        f"{name} {after[name]} instead of {value}"
        for name, value in before.items()
        if isinstance(value, int) and after[name] != value
    )


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
