"""What a store could do without: found with its reason, never what somebody works on or a record needs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from iqa_robustness.store import Key, Record, Store
from iqa_robustness.store.garbage import Garbage, garbage, remove

DAY = 86400.0
METRIC = {"name": "own:Contrast", "version": 1, "fingerprint": [1.0, 2.0]}
ATTACK = {"class": "attacks.ifgsm.Ifgsm", "version": 1, "fields": {"epsilon": 0.1}}
DEFENSE = {"class": "defenses.flip.Flip", "version": 1, "fields": {}}


def later(days: float = 10.0) -> float:
    import time

    return time.time() + days * DAY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def either(url: str) -> Store:
    return Store(url)


def stage(store: Store, **document: Any) -> str:
    key = Key({"stage": "scores", "target": {"metric": METRIC, "defense": DEFENSE}, **document})
    return store.put(key, {"values.safetensors": b"values"}).digest


@pytest.fixture
def record(make_record: Callable[..., Record]) -> Callable[..., str]:
    def put(store: Store, *, names: dict[str, str] | None = None, **document: Any) -> str:
        made = make_record(images=4)
        target = {"metric": METRIC, "defense": DEFENSE}
        key = Key({"stage": "cell", "target": target, "attack": ATTACK, **document})
        meta = {**made.meta, "proof": {**made.meta["proof"], **(names or {})}}
        return store.put(key, Record(images=made.images, meta=meta).files()).digest

    return put


def found(store: Store, **more: Any) -> dict[str, list[str]]:
    """Names of what can go, by kind."""
    kinds: dict[str, list[str]] = {}
    for thing in garbage(store, **{"now": later(), **more}):
        kinds.setdefault(thing.kind, []).append(thing.path.rpartition("/")[2])
    return kinds


def remove_all(store: Store, **more: Any) -> list[Garbage]:
    things = [*garbage(store, **{"now": later(), **more})]
    for thing in things:
        remove(store, thing)
    return things


def test_stages_of_what_no_record_is_about_can_go(either: Store, record: Callable[..., str]) -> None:
    kept = {
        record(either),
        stage(either),
        stage(either, target={"metric": METRIC}),
        stage(either, stage="adversarial", attack={**ATTACK, "fields": {"epsilon": 0.2}}),
    }
    gone = {
        stage(either, target={"metric": {**METRIC, "fingerprint": [1.0, 2.5]}}),
        stage(either, stage="adversarial", attack={**ATTACK, "version": 2}),
        stage(either, target={"metric": METRIC, "defense": {**DEFENSE, "class": "defenses.jpeg.Jpeg"}}),
    }
    assert {*found(either)["stage"]} == gone
    assert found(either, now=later(3)) == {}
    reasons = {thing.why for thing in garbage(either, now=later())}
    assert any("no record is about attack Ifgsm version 2" in reason for reason in reasons)
    assert {*either.digests()} == kept | gone
    remove_all(either)
    assert {*either.digests()} == kept
    assert found(either) == {}


def test_what_a_record_names_stays(store: Store, record: Callable[..., str]) -> None:
    proof = stage(store, stage="adversarial", target={"metric": {"name": "planted"}}, attack=ATTACK)
    training = stage(store, stage="trained-attack", attack={"class": "attacks.uap.Uap", "version": 7})
    other = stage(store, stage="adversarial", target={"metric": {"name": "planted", "version": 2}})
    record(store, names={"entry": proof}, training=training)
    assert found(store) == {"stage": [other]}


def test_old_records_go_when_that_is_asked_for_and_their_stages_with_them(
    store: Store, record: Callable[..., str]
) -> None:
    old, scores = record(store), stage(store)
    new = record(store, target={"metric": {**METRIC, "version": 2}})
    for path in Path(store.path_of(old)).iterdir():
        os.utime(path, (later(-100), later(-100)))
    assert found(store, now=later(0)) == {}
    assert found(store, now=later(0), record_days=90) == {"record": [old]}
    assert found(store, now=later(0), record_days=90, days=0) == {"record": [old], "stage": [scores]}
    remove_all(store, now=later(0), record_days=90, days=0)
    assert store.digests() == [new]


def test_a_record_that_cannot_be_read_keeps_what_its_key_is_about(store: Store, record: Callable[..., str]) -> None:
    digest, scores = record(store), stage(store)
    Path(store.path_of(digest), "record.parquet").write_bytes(b"damage")
    assert found(Store(store.url, read_only=True)) == {}
    assert {*store.digests()} == {digest, scores}


def test_folders_without_a_manifest_can_go_when_nobody_has_written_for_days(either: Store) -> None:
    folder = either.path_of("0" * 64)
    either.fs.makedirs(folder, exist_ok=True)
    either.fs.pipe_file(f"{folder}/0123456789abcdef-images.tar", b"half")
    assert found(either, now=later(1)) == {}
    (thing,) = remove_all(either)
    assert (thing.kind, thing.size) == ("half-written", 4)
    assert either.fs.find(folder) == []


def test_damaged_entries_are_kept_for_a_while(either: Store) -> None:
    key = Key({"stage": "cell"})
    either.fs.pipe_file(either.put(key, {"a": b"bytes"}).path("a"), b"damage")
    either.quarantined(key.digest, "for a test")
    assert found(either, now=later(1)) == {}
    (thing,) = remove_all(either)
    assert thing.kind == "quarantined"
    assert thing.path.rpartition("/")[2].startswith(key.digest)
    either.fs.invalidate_cache()
    assert either.fs.find(either.quarantine) == []


def test_scratch_of_the_dead_can_go_at_once_of_the_living_never_of_strangers_after_days(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    host = socket.gethostname()
    mine = store.scratch()
    dead, foreign = (store.scratch_folder / f"{who}-{ended.pid}-0123abcd" for who in (host, "elsewhere"))
    for folder in (dead, foreign):
        folder.mkdir()
        (folder / "images.tar").write_bytes(b"12345")
    unfinished = store.unfinished(Key({"stage": "trained-attack"}))
    unfinished.mkdir(parents=True)
    assert found(store, now=later(0)) == {"scratch": [dead.name]}
    assert {*found(store)["scratch"]} == {dead.name, foreign.name}
    assert found(store)["unfinished"] == [unfinished.name]
    remove_all(store)
    assert [*store.scratch_folder.iterdir()] == [mine]
    assert [*store.unfinished_folder.iterdir()] == []


def test_locks_that_nobody_holds_can_go(store: Store) -> None:
    store.lock_folder.mkdir()
    for name in ("held", "dead"):
        (store.lock_folder / f"{name}.lock").touch()
    with FileLock(store.lock_folder / "held.lock"):
        assert found(store, now=later(0)) == {"lock": ["dead.lock"]}
        remove_all(store)
        remove(store, Garbage(kind="lock", path=str(store.lock_folder / "held.lock"), size=0, why="a race"))
        assert [path.name for path in store.lock_folder.iterdir()] == ["held.lock"]


def test_looking_changes_nothing(store: Store, record: Callable[..., str]) -> None:
    record(store)
    stage(store, target={"metric": {"name": "other"}})
    before = sorted(path for path in Path(store.root).rglob("*"))
    assert found(Store(store.url, read_only=True), record_days=0)
    assert sorted(path for path in Path(store.root).rglob("*")) == before


def test_readings_go_with_the_record_whose_bytes_they_are_of(store: Store, record: Callable[..., str]) -> None:
    kept = store.find(record(store))
    assert kept is not None
    bytes_of = kept.contents["record.parquet"]
    for sha256 in (bytes_of, "0" * 64):
        store.put(Key({"stage": "reading", "version": 1, "record": sha256}), {"reading.json": b"{}"})
    removed = remove_all(store, now=later())
    assert [one.why for one in removed] == [f"no record is about record {'0' * 12}"]
