"""The one command that runs a cell again."""

from __future__ import annotations

import shlex
from importlib.resources import files

import pytest

SUITES = ("robustness", "conformance")
"""Folders of `iqa_robustness.suites`, which a wheel has; a checkout has them as test_suites."""

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
    return " ".join(["pytest", *_address(nodeid, config), *(shlex.quote(option) for option in options)])


def _address(nodeid: str, config: pytest.Config) -> list[str]:
    """How pytest finds an item: by its id, or in the suites of an installed package by the module's name."""
    file, _, test = nodeid.partition("::")
    name = file.rpartition("/")[2]
    for suite in SUITES:
        shipped = (files("iqa_robustness") / "suites" / suite / name).is_file()
        if shipped and not (config.rootpath / file).exists():
            module = f"iqa_robustness.suites.{suite}.{name.removesuffix('.py')}"
            return ["--pyargs", shlex.quote(f"{module}::{test}")]
    return [shlex.quote(nodeid)]
