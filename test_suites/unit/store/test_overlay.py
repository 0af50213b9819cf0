"""A writable store over a base: reads both, writes to itself alone, and gets along with damage below."""

from __future__ import annotations

from pathlib import Path

import pytest

from iqa_robustness.errors import ConfigurationError, CorruptEntryError
from iqa_robustness.store import Entry, Key, Store

KEY, OTHER, NEW = (Key({"stage": "cell", "number": number}) for number in range(3))
FILES = {"record.parquet": b"numbers" * 100}


@pytest.fixture
def base(tmp_path: Path) -> Store:
    store = Store(tmp_path / "base")
    store.put(KEY, FILES)
    store.put(OTHER, FILES)
    return store


@pytest.fixture
def overlay(tmp_path: Path, base: Store) -> Store:
    return Store(tmp_path / "overlay", base=base.url)


def required(entry: Entry | None) -> Entry:
    assert entry is not None
    return entry


def listing(store: Store) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(store.root).rglob("*") if path.is_file()}


def test_what_the_overlay_lacks_is_read_from_the_base(overlay: Store, base: Store) -> None:
    assert required(overlay.get(KEY)).files() == FILES
    assert overlay.get(NEW) is None
    overlay.put(NEW, FILES)
    assert required(overlay.get(NEW)).files() == FILES
    assert overlay.digests() == sorted(key.digest for key in (KEY, OTHER, NEW))
    assert overlay.digests(holding="draws.parquet") == []


def test_nothing_is_ever_written_to_the_base(overlay: Store, base: Store) -> None:
    before = listing(base)
    with overlay.lock(NEW):
        overlay.put(NEW, FILES)
    overlay.put(KEY, {"record.parquet": b"another"})
    assert listing(base) == before
    assert Store(overlay.url).digests() == sorted([NEW.digest, KEY.digest])


def test_the_overlay_comes_first(overlay: Store) -> None:
    overlay.put(KEY, {"record.parquet": b"another"})
    assert required(overlay.get(KEY)).read("record.parquet") == b"another"


@pytest.mark.parametrize("name", ["record.parquet", "manifest.json"])
def test_a_damaged_entry_of_the_base_is_said_once_and_then_mended_above_it(
    overlay: Store, base: Store, name: str
) -> None:
    path = Path(base.path_of(KEY.digest), name)
    path.write_bytes(path.read_bytes()[:-3])
    before = listing(base)
    with pytest.raises(CorruptEntryError, match="left in place, the store is read-only"):
        required(overlay.get(KEY)).files()
    assert overlay.get(KEY) is None
    assert required(overlay.get(OTHER)).files() == FILES
    overlay.put(KEY, FILES)
    assert required(overlay.get(KEY)).files() == FILES
    assert required(Store(overlay.url, base=base.url).get(KEY)).files() == FILES
    assert listing(base) == before


def test_both_can_be_read_only(overlay: Store, base: Store) -> None:
    overlay.put(NEW, FILES)
    reader = Store(overlay.url, read_only=True, base=base.url)
    assert [required(reader.get(key)).files() for key in (KEY, NEW)] == [FILES, FILES]


def test_a_base_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--iqa-store-base") as caught:
        Store(tmp_path / "overlay", base=tmp_path / "typo")
    assert "typo" in str(caught.value)
    assert not (tmp_path / "typo").exists()
