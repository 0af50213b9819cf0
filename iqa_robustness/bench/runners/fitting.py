"""A cell's entry from the store, or computed: where memory does not suffice, with half the micro-batch and so on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.memory import fitting_micro_batch, is_out_of_memory, release_memory, remember_micro_batch
from iqa_robustness.bench.pair import Pair
from iqa_robustness.errors import CorruptEntryError, DeviceMemoryError, MissingCellError, TimeSpentError
from iqa_robustness.store import Entry, Key

if TYPE_CHECKING:
    from iqa_robustness.bench.runners.local import LocalRunner


def repaired_entry(runner: LocalRunner, cell: Cell, pair: Pair) -> Entry:
    """`fitted_entry`, its bytes verified; a damaged one is set aside, computed again, and noted in `runner.repaired`.

    Raises:
        CorruptEntryError: nothing is to be computed, or it was damaged twice; also what `fitted_entry` raises.
    """
    places: set[str] = set()
    while True:
        try:
            found = fitted_entry(runner, cell, pair)
            found.verify()
            return found
        except CorruptEntryError as error:
            # An entry that is damaged twice could not be set aside, or lies on a failing disk.
            if runner.from_store or error.where.file in places:
                raise
            places.add(error.where.file)
            runner.repaired.append(error.what)


def fitted_entry(runner: LocalRunner, cell: Cell, pair: Pair) -> Entry:
    """The cell's entry: of the runner's micro-batch, or of the largest one that memory was found to suffice for.

    Raises:
        MissingCellError: it is not in the store, and nothing is to be computed; TimeSpentError when that is due to the
            runner's deadline.
        DeviceMemoryError: memory does not suffice for a micro-batch of one.
    """
    key = runner.key(cell, pair)
    found = _found(runner, cell, pair, key)
    if found is not None:
        return found
    if runner.from_store:
        raise MissingCellError(
            f"the cell is not in the store {runner.store.url}",
            fix="run without --iqa-from-store to compute it, or give the store that holds it",
        )
    if runner.deadline is not None and time.monotonic() >= runner.deadline:
        raise TimeSpentError(
            "the run's time is spent (--iqa-max-hours), and the cell is not in the store",
            fix="run the same command again: it takes what the store has, and goes on",
        )
    with runner.store.lock(key):
        return _found(runner, cell, pair, key) or _computed(runner, cell, pair, key)


def _found(runner: LocalRunner, cell: Cell, pair: Pair, key: Key) -> Entry | None:
    entry = runner.store.get(key)
    if entry is not None:
        return entry
    size = fitting_micro_batch(runner.store, key)
    return None if size is None else _smaller(runner, cell, pair, size)


def _computed(runner: LocalRunner, cell: Cell, pair: Pair, key: Key) -> Entry:
    size = runner.stages.numerics.micro_batch
    try:
        return runner.compute(cell, pair, key)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if size == 1:
            height, width = cell.size
            raise DeviceMemoryError(
                f"memory does not suffice for one image of {height} x {width} pixels: {error}",
                fix="use a device with more memory, fewer workers on it, or a smaller profile",
            ) from error
    # Not while the error is handled: its stack holds the tensors that are to be freed.
    release_memory()
    entry = _smaller(runner, cell, pair, size // 2)
    remember_micro_batch(runner.store, key, size // 2)
    return entry


def _smaller(runner: LocalRunner, cell: Cell, pair: Pair, size: int) -> Entry:
    other = runner.with_micro_batch(size)
    try:
        return fitted_entry(other, cell, pair)
    finally:
        runner.computed = other.computed
