"""What workers say of their items, and what the controller makes of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.plugin.announcement import packed, unpacked
from iqa_robustness.plugin.distribution import Distribution
from iqa_robustness.plugin.outcomes import Outcomes
from iqa_robustness.store import Key, Store


def cell(defense: str, attack: str, **more: Any) -> Cell:
    facts = {
        "metric": "compact",
        "strength": "medium",
        "scenario": "nonadaptive",
        "dataset": "mini",
        "images": 4,
    } | more
    return Cell(defense=defense, attack=attack, size=(64, 64), queries=50, draws=1, n0=1, n=1, **facts)


CELLS = [
    cell("none", "ifgsm"),
    cell("none", "square"),
    cell("flip", "ifgsm"),
    cell("flip", "ifgsm", scenario="adaptive"),
]


class Config:
    """As far as options go."""

    def __init__(self, *, from_store: bool = False) -> None:
        self.option = SimpleNamespace(iqa_from_store=from_store)

    def getoption(self, name: str) -> Any:
        return getattr(self.option, name, None)

    def getini(self, name: str) -> Any:
        return None


def distribution(store: Path, *, from_store: bool = False) -> Distribution:
    session: Any = SimpleNamespace(config=Config(from_store=from_store), store_url=str(store))
    return Distribution(session, Outcomes(), {})


def test_items_arrive_as_they_were_sent() -> None:
    names = [CELLS[1].name, "", CELLS[0].name, CELLS[1].name]
    found = unpacked(packed(names, CELLS[:2]))
    assert [item.name if item else "" for item in found] == names
    assert found[0] is found[3], "a test may be parametrized further: several items, one cell"
    first = found[0]
    assert first is not None
    assert (first.id, first.axes["attack"], first.axes["goal"], first.axes["source"]) == (
        "compact/none/square/medium",
        "square",
        "raise",
        "",
    )


def test_cells_that_share_an_attack_share_a_group_and_the_first_bears_it() -> None:
    found = [item for item in unpacked(packed([c.name for c in CELLS], CELLS)) if item]
    groups = [item.group for item in found]
    assert groups[0] == groups[2] == groups[3] != groups[1]
    weights = {item.name: item.weight for item in found}
    assert weights["nonadaptive:compact/none/ifgsm/medium"] > weights["nonadaptive:compact/flip/ifgsm/medium"] > 0
    assert weights["adaptive:compact/flip/ifgsm/medium"] > weights["nonadaptive:compact/flip/ifgsm/medium"]


def test_what_cannot_be_estimated_is_announced_all_the_same() -> None:
    (item,) = unpacked(
        packed(["nonadaptive:compact/none/ifgsm/medium"], [cell("none", "ifgsm", dataset="folder:absent")])
    )
    assert item is not None
    assert item.weight == 1


@pytest.mark.parametrize(("recorded", "first"), [({}, 0), ({"nonadaptive:compact/none/square/medium": 1e4}, 1)])
def test_units_follow_groups_and_what_cells_took(tmp_path: Path, recorded: dict[str, float], first: int) -> None:
    store = Store(tmp_path)
    for number, (name, seconds) in enumerate(recorded.items()):
        volatile = {"cell": name, "seconds": seconds, "created": "2026"}
        store.put(Key({"n": number}), {"record.parquet": b""}, volatile=volatile)
    controller = distribution(tmp_path)
    controller._hear(packed([CELLS[0].name, "", CELLS[1].name, CELLS[2].name, "", ""], CELLS[:3]))
    ids = ["g.py::t[a]", "o.py::one", "g.py::t[b]", "g.py::t[c]", "o.py::two", "p.py::C::three"]
    units = controller._units(ids)
    assert [[number for number, _ in unit] for unit in units] == [[0, 3], [1, 4], [2], [5]]
    seconds = {number: seconds for unit in units for number, seconds in unit}
    assert controller.expected == {c.name: seconds[number] for c, number in zip(CELLS[:3], (0, 2, 3), strict=True)}
    assert seconds[1] == seconds[4] == seconds[5] == 0, "other tests come after the cells"
    if first == 1:
        assert seconds[2] == 1e4
        assert seconds[2] > seconds[0] > seconds[3] > 0
    else:
        assert seconds[0] > seconds[3] > 0


def test_where_nothing_is_computed_durations_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqa_robustness.bench.durations.recorded_seconds", lambda _: pytest.fail("the store was read"))
    controller = distribution(tmp_path, from_store=True)
    controller._hear(packed([CELLS[0].name], CELLS[:1]))
    assert controller._units(["g.py::t[a]"])[0][0][1] > 0


def test_an_unreadable_store_costs_the_order_alone() -> None:
    controller = distribution(Path("nonsense://x"))
    controller.session.store_url = "nonsense://x"
    controller._hear(packed([CELLS[0].name], CELLS[:1]))
    assert len(controller._units(["g.py::t[a]"])) == 1
