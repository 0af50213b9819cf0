"""The gate: two attacks at medium strength, judged against thresholds.yaml."""

import pytest


@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none", attack="ifgsm,square", strength="medium")
def test_scores_hold_under_attack(cell, pair, gate):
    gate.check(cell, pair)
