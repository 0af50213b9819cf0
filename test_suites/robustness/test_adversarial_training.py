"""Adversarial training: the metric itself has learned under attack (Guardians of Image Quality, adversarial training).

The bundled `compact` with the weights that did best on held-out photographs; the others are a matter of
`--iqa-defense 'at-*'`. D_score is on the range of the untrained metric, `d_score_own` on that of the trained one.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate

TRAINED = "at-ssim-4"


@pytest.mark.iqa_cells(scenario="clean", metric="compact", defense=TRAINED)
def test_it_still_measures_quality(cell: Cell, pair: Pair, gate: Gate) -> None:
    """SROCC_clear, spread and headroom of the trained metric."""
    gate.check(cell, pair)


@pytest.mark.iqa_cells(scenario="nonadaptive", metric="compact", defense=TRAINED, attack="ifgsm", strength="medium")
def test_attacks_on_the_untrained_metric_hardly_transfer(cell: Cell, pair: Pair, gate: Gate) -> None:
    """Images made against the untrained weights."""
    gate.check(cell, pair)


@pytest.mark.iqa_cells(scenario="adaptive", metric="compact", defense=TRAINED, attack="ifgsm", strength="medium")
def test_trained_scores_hold_against_attacks_on_the_trained_weights(cell: Cell, pair: Pair, gate: Gate) -> None:
    """White box on the trained weights, at half the shift of the untrained metric or less."""
    gate.check(cell, pair)
