"""The command that runs a cell again holds what the cell depends on, quoted for a shell."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from iqa_robustness.plugin.options import OPTIONS
from iqa_robustness.reporting.commands import reproduce_command

NODE = "test_gate.py::test_gate[compact/none/ifgsm/strong]"
# They change where results are kept, how they are shown and which part of them is computed; none of a cell's numbers.
WITHOUT_EFFECT = {"store", "from-store", "reports", "shard", "attachments", "attachments-megabytes"}
WITHOUT_EFFECT |= {"scenario", "licence-policy", "store-base", "max-hours", "plan"}
# Nor does it matter where it is computed: a cell that failed is looked at here.
WITHOUT_EFFECT |= {"runner", "ray-address", "ray-share"}


class Config:
    """Of pytest: the options that were given."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    def getoption(self, name: str, default: Any = None) -> Any:
        return self.given.get(name, default)


def words(**given: Any) -> list[str]:
    return shlex.split(reproduce_command(NODE, Config(**given)))  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.name not in WITHOUT_EFFECT], ids=lambda o: o.name)
def test_an_option_that_a_cell_depends_on_is_given_again(option: Any) -> None:
    assert words(**{option.destination: "a value; with 'quotes'"}) == [
        "pytest",
        NODE,
        f"--iqa-{option.name}=a value; with 'quotes'",
    ]


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_others_are_left_out(name: str) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    assert words(**{option.destination: "anything"}) == ["pytest", NODE]


def test_without_options_there_is_the_node_alone() -> None:
    assert words() == ["pytest", NODE]
