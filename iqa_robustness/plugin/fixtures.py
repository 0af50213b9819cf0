"""Fixtures of the suites: `cell`, `pair`, `gate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.plugin.session import robustness_session

if TYPE_CHECKING:
    from iqa_robustness.bench.pair import Pair
    from iqa_robustness.plugin.judging import Gate


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Cell:
    """The item's cell; tests get it from the marker `iqa_cells`."""
    return robustness_session(request.config).cells[request.param]


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest) -> Pair:
    """The metric behind its defense, `pair.guarded`; loaded when first used and kept for all cells of the pair."""
    metric, _, defense = request.param.rpartition("/")
    session = robustness_session(request.config)
    return session.runner.pair_of(metric, defense, n0=session.profile.n0, n=session.profile.n)


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Gate:
    """Judges a cell against thresholds.yaml: `gate.check(cell, pair)`."""
    from iqa_robustness.plugin.judging import Gate

    return Gate(robustness_session(request.config), request)
