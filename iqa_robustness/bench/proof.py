"""Whether an attack works at all: its gain on a metric that is vulnerable by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.sources import Clean
from iqa_robustness.bench.stages import Stages

# A budget of a few pixels cannot move a mean over all of them.
_REFERENCES = {"l0": "iqa_robustness.metrics.planted:VulnerableToPixels"}
_REFERENCE = "iqa_robustness.metrics.planted:Vulnerable"
PROOF_IMAGES = 8


def reference_for(attack: Attack) -> str:
    """The planted metric that an attack has to move, by what the attack may change."""
    return _REFERENCES.get(attack.restriction, _REFERENCE)


def prove(attack: Attack, cell: Cell, clean: Clean, stages: Stages) -> dict[str, Any]:
    """Run the attack as the cell does, but on the planted vulnerable metric.

    Args:
        attack: as configured for the cell; the budget of queries and steps is the cell's.
        cell: gives goal, seed and limits.
        clean: at most `PROOF_IMAGES` of the cell's images.

    Returns:
        JSON for the record: the reference's name, the store digest, and each image's gain in per cent of its range,
        with its content.
    """
    attack = attack.on_every_image()
    if isinstance(attack, TrainedAttack):  # what it has learned is about another metric
        attack = replace(attack, artefact=None)
    pair = Pair(Subject(reference_for(attack), device=stages.numerics.device), "none", n0=cell.n0, n=cell.n)
    entry = stages.adversarial(attack, pair, clean, adaptive=False, goal=cell.goal, cell=cell.document)
    columns = stages.values(entry)
    return {
        "reference": pair.subject.metric.spec.name,
        "entry": entry.digest,
        "gains": [round(float(gain), 6) for gain in 100 * (columns["values"] - columns["clean_values"])],
        "contents": [item.content for item in clean.view.items],
    }
