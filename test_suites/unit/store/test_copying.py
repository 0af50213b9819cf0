"""Entries of one store into another: equal, resumable, verified; what differs or is damaged is told."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import CorruptEntryError, StoreError
from iqa_robustness.store import Entry, Key, Store
from iqa_robustness.store.copying import copied, copy_entries

KEYS = [Key({"stage": "cell", "number": number}) for number in range(4)]


def files(number: int) -> dict[str, bytes]:
    return {"record.parquet": bytes([number]) * 100, "images.tar": bytes(range(number, 200))}


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = Store(tmp_path / "source")
    for number, key in enumerate(KEYS):
        store.put(key, files(number), volatile={"host": "one", "seconds": number})
    return store


@pytest.fixture
def target(url: str) -> Store:
    return Store(url)


def required(entry: Entry | None) -> Entry:
    assert entry is not None
    return entry


def copy_all(source: Store, target: Store) -> Any:
    return copy_entries(source, target, source.digests())


def test_everything_arrives_with_its_facts(source: Store, target: Store) -> None:
    found = copy_all(source, target)
    size = sum(len(data) for number in range(4) for data in files(number).values())
    assert (found.copied, found.present, found.size, found.conflicts, found.damaged) == (4, 0, size, [], [])
    for number, key in enumerate(KEYS):
        entry = required(target.get(key))
        assert entry.files() == files(number)
        assert entry.volatile == {"host": "one", "seconds": number}
        assert entry.manifest["key"] == key.document
    assert [*target.scratch_folder.glob("*")] == []


def test_what_is_there_already_is_left_alone_whatever_its_volatile_facts(source: Store, target: Store) -> None:
    target.put(KEYS[1], files(1), volatile={"host": "two"})
    found = copy_all(source, target)
    assert (found.copied, found.present, len(found.conflicts)) == (3, 1, 0)
    assert required(target.get(KEYS[1])).volatile == {"host": "two"}
    again = copy_all(source, target)
    assert (again.copied, again.present) == (0, 4)


def test_a_copy_that_was_stopped_goes_on(source: Store, target: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put, count = Store.put, 0

    def stopping(store: Store, *arguments: Any, **named: Any) -> Entry:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return put(store, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", stopping)
        with pytest.raises(KeyboardInterrupt):
            copy_all(source, target)
    assert [*target.scratch_folder.glob("*")] == []
    found = copy_all(source, target)
    assert (found.copied, found.present) == (2, 2)
    assert target.digests() == source.digests()


def test_another_content_under_the_same_key_is_a_conflict_and_the_first_stands(source: Store, target: Store) -> None:
    target.put(KEYS[2], {**files(2), "images.tar": b"other", "draws.parquet": b"more"})
    found = copy_all(source, target)
    assert (found.copied, found.present) == (3, 0)
    (conflict,) = found.conflicts
    assert conflict.taken.digest == KEYS[2].digest
    assert conflict.files == ["draws.parquet", "images.tar"]
    assert required(target.get(KEYS[2])).read("images.tar") == b"other"


@pytest.mark.parametrize("name", ["images.tar", "manifest.json"])
def test_damage_is_not_copied(source: Store, target: Store, name: str) -> None:
    Path(source.path_of(KEYS[0].digest), name).write_bytes(b"{")
    found = copy_entries(Store(source.url, read_only=True), target, source.digests())
    assert found.copied == 3
    (what,) = found.damaged
    assert what.startswith(KEYS[0].digest)
    assert name in what
    assert target.get(KEYS[0]) is None


def test_a_damaged_manifest_of_the_target_makes_way(source: Store, target: Store) -> None:
    target.put(KEYS[0], files(0))
    target.fs.pipe_file(f"{target.path_of(KEYS[0].digest)}/manifest.json", b"{")
    assert copy_all(source, target).copied == 4
    assert required(target.get(KEYS[0])).files() == files(0)


def test_one_entry_is_verified_on_its_way(source: Store, target: Store) -> None:
    entry = required(source.get(KEYS[3]))
    Path(entry.path("images.tar")).write_bytes(b"bad")
    with pytest.raises(CorruptEntryError):
        copied(entry, target)
    assert target.digests() == []


def test_a_full_disk_is_a_store_error(source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = Store(tmp_path / "target")
    monkeypatch.setattr("iqa_robustness.store.copying.shutil.copyfileobj", full)
    with pytest.raises(StoreError, match="No space left on device"):
        copy_all(source, target)
    assert [*target.scratch_folder.glob("*")] == []
