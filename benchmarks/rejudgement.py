"""How long it takes to judge a stored run again: `pytest --iqa-from-store` over ten thousand cells.

    python benchmarks/rejudgement.py [--cells 10000] [--images 50] [--cold 100]

The cells are fabricated: one record, made by hand, stands in a store under the keys of as many cells, each with bytes
of its own (its key is in the record). A suite of its own asks for them all and judges them, in one process. *Cold*, no
reading of a record is kept yet, and all intervals are made; *warm*, they are read. Processor time and wall time; of a
cell: less what a run of a single cell takes.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MS = 6.0
_SUITE = """
import pytest
from iqa_robustness.bench.cell import Cell
from iqa_robustness.plugin.session import robustness_session


def pytest_generate_tests(metafunc):
    session = robustness_session(metafunc.config)
    session.asked = True
    cells = [{cell}.for_seed(seed) for seed in range({count})]
"""
