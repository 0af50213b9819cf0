"""Readings: what is kept is what would be read again, and damage or refusal costs time alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iqa_robustness.errors import StoreError
from iqa_robustness.gate.measurements import MEASURES, measure
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
        record.meta.update(numerics={"device": "cpu"}, protocol={"scoring": "one-shot"}, key=KEY.digest)
        return record

    return make


def text(reading: Reading) -> str:
    """To compare: a number that does not exist is not equal to itself."""
    return json.dumps(reading.document(), sort_keys=True)


def stored(store: Store, record: Record) -> Entry:
    return store.put(KEY, record.files())


@pytest.mark.parametrize("facts", [{}, {"kind": "certified"}, {"scenario": "clean"}], ids=str)
def test_what_is_kept_is_what_would_be_read(full: MakeRecord, facts: dict[str, Any], tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full(**facts))
    first = Readings(Store(tmp_path)).of(entry)
    again = Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("read once more"))
    assert text(again) == text(first) == text(Reading.of(Record.from_files(entry.files())))
    # In the same order too: a report of what was just computed equals one of what was found, byte for byte.
    assert json.dumps(again.document()) == json.dumps(first.document())
    assert [*again.measurements] == [name for name in MEASURES if name in again.measurements]


@pytest.mark.parametrize("bound", [Bound(max=50), Bound(max=1), Bound(max=8.2)], ids=["pass", "fail", "between"])
def test_verdicts_are_the_same_with_and_without_readings(full: MakeRecord, bound: Bound, tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full())
    limits = CellThresholds(bounds={"d_score": bound, "spread": Bound(min=20), "srocc_adv": Bound(min=0.2)})
    Readings(Store(tmp_path)).of(entry)
    kept = Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("read once more"))
    found = judge_measured(kept.measurements, kept.invalid, kept.scenario, limits)
    expected = judge(Record.from_files(entry.files()), limits)
    assert (found.status, found.reasons) == (expected.status, expected.reasons)
    assert [str(check) for check in found.checks] == [str(check) for check in expected.checks]


def test_a_damaged_reading_is_made_anew(full: MakeRecord, tmp_path: Path) -> None:
    entry = stored(Store(tmp_path), full())
    first = Readings(Store(tmp_path)).of(entry)
    (place,) = tmp_path.rglob("reading.json")
    for damage in (b"{}", place.read_bytes()[:-9]):
        place.write_bytes(damage)
        assert text(Readings(Store(tmp_path)).of(entry)) == text(first)
        assert text(Readings(Store(tmp_path)).of(entry, lambda _: pytest.fail("not mended"))) == text(first)


def test_a_store_that_refuses_is_asked_once_and_read_every_time(
    full: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, asked = stored(Store(tmp_path), full()), []

    def refuse(self: Store, *_: object, **__: object) -> None:
        asked.append(self)
        raise StoreError("no permission")

    monkeypatch.setattr(Store, "put", refuse)
    reader = Readings(Store(tmp_path, read_only=True))
    assert text(reader.of(entry)) == text(reader.of(entry))
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


def test_numbers_that_change_want_a_new_version(make_record: MakeRecord) -> None:
    # Where this fails with good reason, raise readings.VERSION with the numbers: stores hold readings of the old ones.
    found = measure(make_record())
    said = {name: [round(bound, 4) for bound in found[name].interval.finite if bound is not None] for name in FROZEN}
    assert readings.VERSION == 3
    assert said == FROZEN


FROZEN = {
    "d_score": [0.95, 0.9245, 0.9755],
    "effect_size": [0.0535, 0.0514, 0.0555],
    "srocc_adv": [1.0, 1.0, 1.0],
    "rank_flips": [0.0, 0.0, 0.0],
    "rank_displacement": [0.0, 0.0, 0.0],
    "spread": [54.0, 49.2928, 100.0],
    "survives_jpeg": [1.0, 0.8316, 1.0],
    "srocc_mixed": [1.0, 1.0, 1.0],
}
