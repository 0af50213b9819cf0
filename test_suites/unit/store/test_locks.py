"""Locks: held by one, cleared away unless held, and done without where there are none."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from iqa_robustness.store import Key, Store, locks

fcntl = pytest.importorskip("fcntl", reason="other locks there")


@pytest.fixture(autouse=True)
def _probed_anew() -> Iterator[None]:
    locks._has_locks.cache_clear()
    yield
    locks._has_locks.cache_clear()


def test_one_at_a_time(tmp_path: Path) -> None:
    path, order, inside = tmp_path / "a.lock", [], threading.Event()

    def second() -> None:
        inside.wait(10)
        with locks.held(path):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locks.held(path):
        inside.set()
        assert not locks.is_free(path)
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert locks.is_free(path)


def test_only_free_locks_are_removed(tmp_path: Path) -> None:
    (tmp_path / "free.lock").touch()
    (tmp_path / "notes.txt").touch()
    with locks.held(tmp_path / "held.lock"):
        locks.remove_all_free(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["held.lock", "notes.txt"]
    locks.remove_all_free(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_lock_of_a_finished_entry_is_gone_that_of_an_unfinished_one_goes_at_the_next_start(tmp_path: Path) -> None:
    store, done, failed = Store(tmp_path), Key({"stage": "done"}), Key({"stage": "failed"})
    with store.lock(done):
        store.put(done, {})
    with pytest.raises(ZeroDivisionError), store.lock(failed):
        _ = 1 / 0
    assert [path.stem for path in store.lock_folder.iterdir()] == [failed.digest]
    with store.lock(failed):
        Store(tmp_path)
        assert [path.stem for path in store.lock_folder.iterdir()] == [failed.digest]
    Store(tmp_path)
    assert [*store.lock_folder.iterdir()] == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    entered = 0
    with locks.held(tmp_path / "a.lock"), locks.held(tmp_path / "a.lock"):
        entered += 1
    assert entered == 1
    assert [*tmp_path.iterdir()] == []


def test_a_lock_that_others_hold_is_no_sign_of_a_file_system_without(tmp_path: Path) -> None:
    with FileLock(tmp_path / "a.lock"):
        assert locks._has_locks(tmp_path)
