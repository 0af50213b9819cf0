"""Readings: what is kept is what would be read again, for every kind of record; damage or refusal costs time alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iqa_robustness.errors import StoreError
from iqa_robustness.gate.thresholds import Bound, CellThresholds
from iqa_robustness.gate.verdict import judge, judge_measured
from iqa_robustness.reporting import readings
from iqa_robustness.reporting.readings import Reading, Readings
from iqa_robustness.store import Entry, Key, Record, Store

MakeRecord = Callable[..., Record]
KEY = Key({"stage": "cell", "number": 1})


@pytest.fixture
def full(make_record: MakeRecord) -> Callable[..., Record]:
    """A record with all that an outcome asks for."""

    def make(**fields: Any) -> Record:
        moved = np.linspace(20, 80, 60) + np.random.RandomState(1).gamma(2.0, 4.0, 60)
        record = make_record(**{"defended_attacked": moved, "attacked": moved, **fields})
        cell = {"metric": "m", "defense": "d", "attack": "ifgsm", "strength": "medium", "source": ""}
        record.meta["cell"] |= cell if "attack" in record.meta else {**cell, "attack": "", "strength": ""}
        record.meta["dataset"]["digest"] = "0" * 64
        record.meta |= {"numerics": {"device": "cpu"}, "protocol": {"scoring": "one-shot"}, "key": KEY.digest}
        return record

    return make


def stored(store: Store, record: Record) -> Entry:
    return store.put(KEY, record.files())


@pytest.mark.parametrize("facts", [{}, {"kind": "certified"}, {"scenario": "clean"}], ids=str)
def test_what_is_kept_is_what_would_be_read(full: MakeRecord, facts: dict[str, Any], tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full(**facts))
    first = Readings(Store(tmp_path)).of(entry)
    again = Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("read once more"))
    assert json.dumps(again.document(), sort_keys=True) == json.dumps(first.document(), sort_keys=True)
    assert again == first == Reading.of(Record.from_files(entry.files()))


@pytest.mark.parametrize("bound", [Bound(max=50), Bound(max=1), Bound(max=8.2)], ids=["pass", "fail", "between"])
def test_verdicts_are_the_same_with_and_without_readings(full: MakeRecord, bound: Bound, tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full())
    limits = CellThresholds(bounds={"d_score": bound, "spread": Bound(min=20), "srocc_adv": Bound(min=0.2)})
    Readings(Store(tmp_path)).of(entry)
    kept = Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("read once more"))
    found = judge_measured(kept.measurements, kept.invalid, kept.scenario, limits)
    assert found == judge(Record.from_files(entry.files()), limits)


def test_a_damaged_reading_is_made_anew(full: MakeRecord, tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full())
    first = Readings(Store(tmp_path)).of(entry)
    (place,) = tmp_path.rglob("reading.json")
    for damage in (b"{}", place.read_bytes()[:-9]):
        place.write_bytes(damage)
        assert Readings(Store(tmp_path)).of(entry) == first
        assert Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("not mended")) == first


def test_a_store_that_refuses_is_asked_once_and_read_every_time(
    full: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, asked = stored(Store(tmp_path), full()), []

    def refuse(self: Store, *_: object, **__: object) -> None:
        asked.append(self)
        raise StoreError("no permission")

    monkeypatch.setattr(Store, "put", refuse)
    reader = Readings(Store(tmp_path, read_only=True))
    assert reader.of(entry) == reader.of(entry)
    assert len(asked) == 1
    assert not [*tmp_path.rglob("reading.json")]


def test_a_run_that_only_reads_keeps_readings_too(full: MakeRecord, tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full())
    Readings(Store(tmp_path, read_only=True)).of(entry)
    assert len([*tmp_path.rglob("reading.json")]) == 1


def test_other_records_and_other_versions_have_readings_of_their_own(
    full: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    reader = Readings(store)
    reader.of(stored(store, full()))
    other = store.put(Key({"stage": "cell", "number": 2}), full(defended_attacked=50.0).files())
    assert reader.of(other).measurements["d_score"] != reader.of(stored(store, full())).measurements["d_score"]
    assert len([*tmp_path.rglob("reading.json")]) == 2
    monkeypatch.setattr(readings, "VERSION", readings.VERSION + 1)
    reader.of(other)
    assert len([*tmp_path.rglob("reading.json")]) == 3


def test_numbers_that_change_want_a_new_version(full: MakeRecord) -> None:
    # Where this fails with good reason, raise readings.VERSION with the numbers: stores hold readings of the old ones.
    found = Reading.of(full()).measurements
    said = {name: [round(bound, 4) for bound in found[name].interval.finite if bound is not None] for name in FROZEN}
    assert readings.VERSION == 1
    assert said == FROZEN


FROZEN: dict[str, list[float]] = {}
