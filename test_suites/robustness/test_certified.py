"""Certified defenses under non-adaptive attacks: what is guaranteed, and what is left of the score.

A certificate speaks of every change within an l2 radius; the attacks here go far beyond it, and show what is left.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="certified")
def test_certificates_are_tight_and_scores_hold(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Cert.RD (certified delta), Cert.R and abstentions, with D_score of the smoothed metric."""
    gate.check(cell, pair)
