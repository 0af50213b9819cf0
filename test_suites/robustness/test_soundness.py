"""Soundness: attacks inside the certified radius, where a certificate has to hold.

Both the certificate and the score that would break it are estimates, so one is called broken only where their
confidence bounds are disjoint, and the cell fails only where a binomial test finds more such than alpha allows. A
single certificate may break by bad luck; a wrong one breaks on most images.
"""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.pair import Pair
from iqa_robustness.plugin.judging import Gate


@pytest.mark.iqa_cells(scenario="soundness")
def test_certificates_hold_against_raising(cell: Cell, pair: Pair, gate: Gate) -> None:
    """No smoothed score inside its radius is confidently above what was certified."""
    gate.check(cell, pair)


@pytest.mark.iqa_cells(scenario="soundness", goal="lower")
def test_certificates_hold_against_lowering(cell: Cell, pair: Pair, gate: Gate) -> None:
    """None is confidently below."""
    gate.check(cell, pair)
