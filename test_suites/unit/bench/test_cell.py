"""Cells: their names, and the document that enters every key."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from iqa_robustness.axes import GOALS, SCENARIOS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.store import Key

MakeCell = Callable[..., Cell]


def test_the_axes_are_published() -> None:
    assert SCENARIOS == ("clean", "nonadaptive", "adaptive", "certified", "soundness", "transfer")
    assert GOALS == ("raise", "lower")


def test_an_id_is_metric_defense_attack_strength(make_cell: MakeCell) -> None:
    cell = make_cell()
    assert cell.id == "compact/flip/ifgsm/medium"
    assert cell.pair == ("compact", "flip")


def test_a_clean_cell_has_neither_attack_nor_strength_in_its_id(make_cell: MakeCell) -> None:
    cell = make_cell(scenario="clean", attack="", strength="")
    assert cell.id == "compact/flip"
    assert cell.name == "clean:compact/flip"


def test_a_transfer_names_its_source_in_its_id(make_cell: MakeCell) -> None:
    cells = [
        make_cell(scenario="transfer", source=source) for source in ("compact/none", "compact/flip", "exec:./a/b/none")
    ]
    assert [cell.id.removeprefix("compact/flip/ifgsm/medium") for cell in cells] == [
        "/from:compact/none",
        "/from:compact/flip",
        "/from:exec:./a/b/none",
    ]
    assert [cell.attacked for cell in cells] == [("compact", "none"), ("compact", "flip"), ("exec:./a/b", "none")]
    assert len({cell.name for cell in cells}) == len(cells)
    assert make_cell().attacked == make_cell().pair


def test_names_tell_scenarios_and_goals_apart_where_ids_do_not(make_cell: MakeCell) -> None:
    cells = [make_cell(scenario=scenario, goal=goal) for scenario in SCENARIOS for goal in GOALS]
    assert len({cell.id for cell in cells}) == 1
    assert len({cell.name for cell in cells}) == len(cells)
    assert make_cell(goal="lower").name == "nonadaptive:compact/flip/ifgsm/medium:lower"


def test_a_document_holds_every_field_as_json(make_cell: MakeCell) -> None:
    cell = make_cell()
    assert set(cell.document) == {field.name for field in dataclasses.fields(Cell)}
    assert json.loads(json.dumps(cell.document)) == cell.document
    assert cell.document["size"] == [192, 256]


OTHERS = {
    "metric": "lite0",
    "defense": "jpeg",
    "attack": "square",
    "strength": "weak",
    "source": "compact/jpeg",
    "scenario": "adaptive",
    "goal": "lower",
    "dataset": "koniq:/data",
    "images": None,
    "size": (256, 192),
    "queries": 301,
    "max_forwards": 10,
    "draws": 3,
    "n0": 21,
    "n": 201,
    "seed": 1,
    "scoring": "mean-of-4",
    "doublings": 1,
    "query_images": 12,
}


def test_every_field_changes_the_key(make_cell: MakeCell) -> None:
    assert set(OTHERS) == {field.name for field in dataclasses.fields(Cell)}
    keys = {Key(make_cell(**{name: value}).document).digest for name, value in OTHERS.items()}
    assert len(keys | {Key(make_cell().document).digest}) == len(OTHERS) + 1


def test_a_cell_is_frozen_and_hashable(make_cell: MakeCell) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_cell().metric = "lite0"  # type: ignore[misc]
    assert len({make_cell(), make_cell(), make_cell(seed=1)}) == 2
