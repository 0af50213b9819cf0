"""Parametrization: a test marked `iqa_cells` becomes one item for each cell that the run selects."""

from __future__ import annotations

from functools import cache

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stop with exit code 4 on a configuration error; drop placeholders of tests without cells, and what cannot apply.

    Last, so that the note on what cannot apply counts only what `-k` and `-m` left.
    """
    if not started(config):
        return
    session = robustness_session(config)
    if session.error is not None:
        if not is_worker(config):
            raise pytest.UsageError(str(session.error))
        items.clear()  # the controller raises what the worker reports
        return
    empty, useless, refused, kept = [], [], [], []
    for item in items:
        if item.get_closest_marker("iqa_cells"):
            cell = _cell_of(item)
            if not cell:
                empty.append(item)
            elif session.cells[cell].metric in session.left_out:
                refused.append(item)
            elif cell in session.not_applicable:
                useless.append(item)
            else:
                kept.append(item)
    elsewhere = _elsewhere(session, kept)
    dropped = {*empty, *useless, *refused, *elsewhere, *_of_whole_runs(session, items)}
    if dropped:
        config.hook.pytest_deselected(items=[item for item in items if item in dropped])
        items[:] = [item for item in items if item not in dropped]
    session.notes = _notes([session.cells[_cell_of(item)] for item in useless])
    if session.shard is not None:
        count = len(kept)
        session.notes.append(f"shard {session.shard}: {count - len(elsewhere)} of {count} items, the others elsewhere")


def _elsewhere(session: RobustnessSession, items: list[pytest.Item]) -> list[pytest.Item]:
    """Items that another shard runs."""
    if session.shard is None:
        return []
    cells = {name: session.cells[name] for name in map(_cell_of, items)}
    mine = {cell.name for cell in session.shard.of([*cells.values()])}
    return [item for item in items if _cell_of(item) not in mine]


def _of_whole_runs(session: RobustnessSession, items: list[pytest.Item]) -> list[pytest.Item]:
    """Items that belong to runs which nobody narrowed, where this is none; of shards, the first one has them."""
    chosen = session.selection
    narrowed = chosen.metric or chosen.defense or chosen.attack or chosen.strength or chosen.scenario
    if not narrowed and (session.shard is None or session.shard.number == 1):
        return []
    return [item for item in items if item.get_closest_marker("iqa_whole_run")]


def _cell_of(item: pytest.Item) -> str:
    """The name of an item's cell, empty for a placeholder."""
    callspec = getattr(item, "callspec", None)
    name = callspec.params.get("cell") if callspec is not None else None
    return name if isinstance(name, str) else ""


def _notes(cells: list[Cell]) -> list[str]:
    """One line for each metric: how many cells, which attacks, and why."""
    lines = []
    for metric in sorted({cell.metric for cell in cells}):
        named = [cell.attack or "the attack inside a radius" for cell in cells if cell.metric == metric]
        count, attacks = len(named), sorted(set(named))
        lines.append(
            f"{count} cell{'s' if count > 1 else ''} not applicable, deselected: {', '.join(attacks)} "
            f"need{'s' if len(attacks) == 1 else ''} gradients, and {metric} answers queries only"
        )
    return lines


def _marks(cell: Cell) -> list[pytest.MarkDecorator]:
    named = {"metric": cell.metric, "defense": cell.defense, "scenario": cell.scenario}
    if cell.attack:
        named |= {"attack": cell.attack, "strength": cell.strength}
    return [_mark(axis, name) for axis, name in named.items()]


@cache
def _mark(axis: str, name: str) -> pytest.MarkDecorator:
    """Made once: thousands of items share each."""
    mark: pytest.MarkDecorator = getattr(pytest.mark, axis)(name=name)
    return mark
