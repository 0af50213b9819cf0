"""Without an attack: a metric that does not rank clean images, or hardly uses its range, cannot be judged under one.

Every (metric, defense) pair is checked: a defense that ruins the ranking protects nothing.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="clean")
def test_clean_scores_rank_and_spread(cell: Cell, pair: Pair, gate: Gate) -> None:
    """SROCC_clear, spread and headroom of the defended metric on clean images."""
    gate.check(cell, pair)
