"""Records: what is written is what is read, bytes repeat, and other schemas and damaged files are refused."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from iqa_robustness.errors import ConfigurationError, CorruptEntryError
from iqa_robustness.store import SCHEMA_VERSION, Record
from iqa_robustness.store.records import DRAW_COLUMNS, IMAGE_COLUMNS

KINDS = {pa.float64(): "float", pa.int64(): "int", pa.bool_(): "bool", pa.string(): "text"}
META = {"cell": {"scenario": "clean"}, "metric": {"score_range": [10.0, 60.0], "higher_is_better": False}}


def column(kind: str, count: int, seed: int) -> Any:
    random = np.random.RandomState(seed)
    if kind == "float":
        return random.choice([0.1, -2.5, math.nan, math.inf, -math.inf, 1e-300], count)
    if kind == "int":
        return random.randint(0, 2**40, count)
    return random.rand(count) < 0.5 if kind == "bool" else [f"é {value}" for value in random.randint(0, 9, count)]


def table(columns: dict[str, Any], count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {name: column(KINDS[kind], count, seed) for seed, (name, (kind, _)) in enumerate(columns.items())}
    )


def record(count: int = 5, drawn: int = 0, **more: Any) -> Record:
    facts: dict[str, Any] = {"images": table(IMAGE_COLUMNS, count), "meta": META}
    if drawn:
        facts["draws"] = table(DRAW_COLUMNS, drawn)
    return Record(**{**facts, **more})


# --- round trip -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [0, 7])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_record_comes_back_as_it_was(count: int, draws: int) -> None:
    written = record(count, draws)
    back = Record.from_files(written.files(), volatile={"seconds": 3})
    pd.testing.assert_frame_equal(back.images, written.images, check_dtype=count > 0)
    assert back.meta == written.meta
    assert back.volatile == {"seconds": 3}
    assert [*back.draws.columns] == [*DRAW_COLUMNS]
    if draws:
        pd.testing.assert_frame_equal(back.draws, written.draws)
    else:
        assert len(back.draws) == 0
        assert [*written.files()] == ["record.parquet"]


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(width=64)))
@settings(max_examples=30)
def test_scores_come_back_bit_for_bit(values: np.ndarray) -> None:
    images = table(IMAGE_COLUMNS, len(values)).assign(clean=values)
    back = Record.from_files(record(images=images).files())
    np.testing.assert_array_equal(back.scores("clean"), values)
    assert np.signbit(back.scores("clean")[values == 0]).tolist() == np.signbit(values[values == 0]).tolist()


@given(st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()))
@settings(max_examples=30)
def test_meta_comes_back_as_it_was(meta: dict[str, Any]) -> None:
    meta.pop("schema_version", None)
    assert Record.from_files(record(meta=meta).files()).meta == meta


def test_facts_of_the_metric_are_read_from_meta() -> None:
    made = record(3)
    assert made.diam == 50
    assert made.higher_is_better is False
    assert made.contents == made.images["content"].tolist()
    assert made.scores("abstained").dtype == np.float64
    assert set(made.scores("abstained")) <= {0.0, 1.0}


# --- equal bytes ----------------------------------------------------------------------------------------------------


def test_equal_records_give_equal_bytes() -> None:
    first = record(5, 7)
    meta = {name: META[name] for name in reversed(META)}
    images = first.images[[*reversed(IMAGE_COLUMNS)]].set_index(pd.Index(range(10, 15)))
    second = record(images=images, draws=first.draws.copy(), meta=meta, volatile={"seconds": 9})
    assert second.files() == first.files()


@pytest.mark.parametrize(
    ("name", "value"),
    [("clean", 0.25), ("linf", math.nan), ("forwards", -1), ("responded", None), ("content", "another")],
)
def test_a_changed_value_changes_the_bytes(name: str, value: object) -> None:
    images = table(IMAGE_COLUMNS, 5).assign(linf=0.5)
    changed = images.copy()
    changed.loc[2, name] = (not images.loc[2, name]) if value is None else value
    assert record(images=changed).files() != record(images=images).files()


def test_a_changed_meta_changes_the_bytes() -> None:
    assert record(meta={**META, "more": 1}).files() != record().files()


def test_the_schema_is_frozen_under_its_version() -> None:
    # Whoever changes a column or its type raises SCHEMA_VERSION, and then these numbers.
    columns = [(name, str(kind)) for table in (IMAGE_COLUMNS, DRAW_COLUMNS) for name, (kind, _) in table.items()]
    digest = hashlib.sha256(json.dumps(columns).encode()).hexdigest()
    assert (SCHEMA_VERSION, digest[:16]) == (3, "04fc6457708977f5")


# --- what cannot be written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda images: images.drop(columns="mos"), r"missing columns \['mos'\]"),
        (lambda images: images.assign(surprise=1), r"unknown columns \['surprise'\]"),
    ],
    ids=["missing", "unknown"],
)
def test_other_columns_are_refused_by_name(change: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        record(images=change(table(IMAGE_COLUMNS, 3))).files()


@pytest.mark.parametrize("value", [math.nan, math.inf, {1}, np.float32(1)], ids=str)
def test_meta_is_json_without_nan(value: object) -> None:
    with pytest.raises(ConfigurationError, match="meta may hold JSON values only"):
        record(meta={"trace": [value]}).files()


# --- what cannot be read --------------------------------------------------------------------------------------------


def rewritten(files: dict[str, bytes], *, meta: object = None, drop: str = "") -> dict[str, bytes]:
    """The record file with other metadata, or without a column."""
    read = pq.read_table(io.BytesIO(files["record.parquet"]))
    if drop:
        read = read.drop_columns([drop]).replace_schema_metadata(read.schema.metadata)
    if meta is not None:
        read = read.replace_schema_metadata({b"iqa_robustness": json.dumps(meta).encode()})
    buffer = io.BytesIO()
    pq.write_table(read, buffer)
    return {"record.parquet": buffer.getvalue()}


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, "1", None])
def test_another_schema_version_is_refused_never_reinterpreted(version: object) -> None:
    files = rewritten(record().files(), meta={**META, "schema_version": version})
    with pytest.raises(ConfigurationError, match=rf"schema {version} \(this version reads schema {SCHEMA_VERSION}\)"):
        Record.from_files(files)


def test_other_columns_are_refused_when_read() -> None:
    with pytest.raises(ConfigurationError, match="written with other columns"):
        Record.from_files(rewritten(record().files(), drop="psnr"))


@pytest.mark.parametrize("meta", [[1, 2], "text", 3])
def test_metadata_of_another_shape_is_corrupt(meta: object) -> None:
    with pytest.raises(CorruptEntryError, match="cannot be read"):
        Record.from_files(rewritten(record().files(), meta=meta))


def test_a_parquet_file_of_somebody_else_is_corrupt() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    with pytest.raises(CorruptEntryError, match="cannot be read") as caught:
        Record.from_files({"record.parquet": buffer.getvalue()})
    assert caught.value.fix


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(64) + b"PAR1"])
def test_what_is_no_parquet_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptEntryError, match=r"where: file=record\.parquet"):
        Record.from_files({"record.parquet": data})


def test_an_entry_without_a_record_is_corrupt() -> None:
    with pytest.raises(CorruptEntryError, match=r"no record\.parquet"):
        Record.from_files({"values.safetensors": b""})


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_damage_is_a_typed_error_or_harmless_but_never_anything_else(data: st.DataObject) -> None:
    whole = bytearray(record(5, 7).files()["record.parquet"])
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    read = [*IMAGE_COLUMNS]
    with contextlib.suppress(CorruptEntryError, ConfigurationError):
        read = [*Record.from_files({"record.parquet": bytes(whole[:cut])}).images.columns]
    assert read == [*IMAGE_COLUMNS]
