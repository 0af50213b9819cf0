"""Adaptive attacks: the adversary knows the defense and attacks the defended metric (Table 4, right).

Random defenses are attacked through the mean of several draws (EOT), defenses without a gradient through a
differentiable stand-in (BPDA); the record names the protocol.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="adaptive")
def test_defended_scores_hold(cell: Cell, pair: Pair, gate: Gate) -> None:
    """The measures of the non-adaptive scenario, against an attack on f(P(x))."""
    gate.check(cell, pair)
