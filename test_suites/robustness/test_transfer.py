"""Transfer: images made against one defense or metric, scored by another that the adversary did not have.

Each cell's id names its source; where source and target are the same, the attack is the white-box one of the other
suites, and its images are shared with them. The report sets them side by side as matrices. Nothing is required of these
cells unless thresholds.yaml does (`scenario: transfer`).
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="transfer", between="defenses")
def test_scores_under_attacks_on_other_defenses(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Adaptive attacks on one defense, scored behind each."""
    gate.check(cell, pair)


@pytest.mark.iqa_cells(scenario="transfer", between="metrics")
def test_scores_under_attacks_on_other_metrics(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Attacks on one undefended metric, scored by each."""
    gate.check(cell, pair)
