"""Parametrization: a test marked `iqa_cells` becomes one item for each cell that the run selects."""

from __future__ import annotations

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.plugin.outcomes import is_worker
from iqa_robustness.plugin.session import RobustnessSession, robustness_session, started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item a cell; its parameters are plain strings, stable between runs and unique in one."""
    marker = metafunc.definition.get_closest_marker("iqa_cells")
    if marker is None:
        return
    session = robustness_session(metafunc.config)
    session.asked = True
    found: list[Cell] = []
    if session.error is None:
        try:
            found = session.collect(marker)
        except ConfigurationError as error:
            session.error = error
    metafunc.parametrize(
        ("pair", "cell"),
        [pytest.param("/".join(cell.pair), cell.name, marks=_marks(cell), id=cell.id) for cell in found],
        indirect=True,
        scope="session",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stop with exit code 4 on a configuration error; drop the placeholders of tests without any cell."""
    if not started(config):
        return
    session = robustness_session(config)
    if session.error is not None:
        if not is_worker(config):
            raise pytest.UsageError(str(session.error))
        items.clear()  # the controller raises what the worker reports
        return
    empty = [item for item in items if item.get_closest_marker("iqa_cells") and not _has_cell(item)]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]
    if session.left_out:
        refused = [item for item in items if _metric(item, session) in session.left_out]
        config.hook.pytest_deselected(items=refused)
        gone = {id(item) for item in refused}
        items[:] = [item for item in items if id(item) not in gone]


def _has_cell(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and isinstance(callspec.params.get("cell"), str)


def _metric(item: pytest.Item, session: RobustnessSession) -> str:
    if item.get_closest_marker("iqa_cells") is None:
        return ""
    return session.cells[item.callspec.params["cell"]].metric  # type: ignore[attr-defined]


def _marks(cell: Cell) -> list[pytest.MarkDecorator]:
    named = {"metric": cell.metric, "defense": cell.defense, "scenario": cell.scenario}
    if cell.attack:
        named |= {"attack": cell.attack, "strength": cell.strength}
    return [getattr(pytest.mark, axis)(name=name) for axis, name in named.items()]
