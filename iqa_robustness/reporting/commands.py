"""The one command that runs a cell again."""

from __future__ import annotations

import shlex

import pytest

# Options that change what is computed, judged or collected; others (reports, -n) do not matter for reproducing.
_RELEVANT = (
    "profile",
    "dataset",
    "images",
    "max_queries",
    "seed",
    "scoring",
    "draws",
    "doublings",
    "micro_batch",
    "device",
    "thresholds",
    "ranges",
    "strengths",
    "baseline",
    "metric",
    "defense",
    "attack",
    "strength",
    "cell_timeout",
)


def reproduce_command(nodeid: str, config: pytest.Config) -> str:
    """`pytest "path::test[cell]" --iqa-…=…` with the options of this run that the cell depends on."""
    given = [(name, config.getoption(f"iqa_{name}", default=None)) for name in _RELEVANT]
    options = [f"--iqa-{name.replace('_', '-')}={value}" for name, value in given if value]
    return " ".join(["pytest", shlex.quote(nodeid), *(shlex.quote(option) for option in options)])
