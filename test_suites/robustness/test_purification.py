"""Non-adaptive attacks: the adversary knows the metric, not the defense (Guardians of Image Quality, Table 4, left).

Adversarial images are made once per (attack, metric, strength) and scored behind every defense.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="nonadaptive")
def test_scores_hold_when_raised(cell: Cell, pair: Pair, gate: Gate) -> None:
    """D_score, D_score over placebo, D_score^(D), Q_score and SROCC_adv when the attack raises the score."""
    gate.check(cell, pair)


@pytest.mark.iqa_cells(scenario="nonadaptive", goal="lower", attack="ifgsm", strength="medium")
def test_scores_hold_when_lowered(cell: Cell, pair: Pair, gate: Gate) -> None:
    """The other half of harm: a good image made to look bad."""
    gate.check(cell, pair)
