"""A store on S3: whole or not at all without a rename, damage set aside, and nothing said that is secret."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.errors import CorruptEntryError, ExitCode, StoreError
from iqa_robustness.store import Entry, Key, Store

s3fs = pytest.importorskip("s3fs")

KEY = Key({"stage": "cell", "number": 1})
OTHER = Key({"stage": "cell", "number": 2})
FILES = {"record.parquet": b"numbers" * 100, "images.tar": bytes(range(256)) * 40}


def required(entry: Entry | None) -> Entry:
    assert entry is not None
    return entry


def test_what_is_put_is_read_by_every_reader(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = Store(f"{bucket}/team")
    assert store.get(KEY) is None
    assert store.digests() == []
    scratch = store.scratch()
    (scratch / "images.tar").write_bytes(FILES["images.tar"])
    with store.lock(KEY):
        store.put(KEY, {**FILES, "images.tar": scratch / "images.tar"}, volatile={"seconds": 2})
    s3fs.S3FileSystem.clear_instance_cache()
    for reader in (store, Store(f"{bucket}/team", read_only=True)):
        entry = required(reader.get(KEY))
        assert entry.files() == FILES
        assert entry.volatile == {"seconds": 2}
        with entry.open("images.tar") as file:
            assert file.read(3) == bytes(range(3))
        assert reader.digests() == reader.digests(holding="record.parquet") == [KEY.digest]
        assert reader.digests(holding="draws.parquet") == []
    assert Store(f"{bucket}/others").get(KEY) is None


def test_a_listing_is_never_an_old_one(bucket: str) -> None:
    first, second = Store(f"{bucket}/team"), Store(f"{bucket}/team")
    assert first.digests() == []
    second.put(KEY, FILES)
    assert first.digests() == [KEY.digest]


def test_without_its_manifest_an_entry_is_none(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(bucket)
    whole = store.fs.pipe_file

    def failing(path: str, data: bytes, **more: Any) -> Any:
        if path.endswith("manifest.json"):
            raise OSError("connection lost")
        return whole(path, data, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store.fs, "pipe_file", failing)
        with pytest.raises(StoreError, match="cannot be written: connection lost"):
            store.put(KEY, FILES)
    assert store.get(KEY) is None
    assert store.digests() == []
    assert store.put(KEY, FILES).files() == FILES


def test_a_second_writer_that_stops_half_way_does_not_touch_the_first_ones_entry(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both found no entry; results of two GPUs need not be equal bit for bit.
    first, second = Store(bucket), Store(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(second, "_own", lambda _digest: None)
        patch.setattr(second.fs, "put_file", lambda *_: pytest.fail("no file is uploaded"))
        first.put(KEY, FILES)
        write = second.fs.pipe_file

        def dies(path: str, data: bytes, **more: Any) -> Any:
            if path.endswith("volatile.json"):
                raise OSError("killed")
            return write(path, data, **more)

        patch.setattr(second.fs, "pipe_file", dies)
        with pytest.raises(StoreError):
            second.put(KEY, {name: data + b"!" for name, data in FILES.items()})
    assert required(Store(bucket).get(KEY)).files() == FILES


def test_damage_is_found_set_aside_and_mended(bucket: str) -> None:
    store = Store(bucket)
    entry = store.put(KEY, FILES)
    store.put(OTHER, FILES)
    store.fs.pipe_file(entry.path("images.tar"), b"damage")
    with pytest.raises(CorruptEntryError, match=r"images\.tar does not match its digest \(moved to "):
        required(store.get(KEY)).files()
    assert store.get(KEY) is None
    store.fs.invalidate_cache()
    assert len(store.fs.find(store.quarantine)) == len(FILES) + 2
    assert store.put(KEY, FILES).files() == FILES
    assert required(store.get(OTHER)).files() == FILES


def test_a_bucket_that_is_not_there_is_named_and_not_made(bucket: str) -> None:
    for read_only in (False, True):
        with pytest.raises(StoreError, match="bucket 'no-such-bucket'") as caught:
            Store("s3://no-such-bucket/team", read_only=read_only)
        assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
        assert "AWS_ENDPOINT_URL" in caught.value.fix
    assert "no-such-bucket" not in Store(bucket).fs.ls("")


def test_missing_credentials_are_a_store_error(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match="credentials") as caught:
        Store(f"{bucket}/team")
    assert "AWS_PROFILE" in caught.value.fix


def test_credentials_are_never_said(
    bucket: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Store(f"{bucket}/team")
    entry = store.put(KEY, FILES)
    store.fs.pipe_file(entry.path("images.tar"), b"damage")
    said = [repr(store), str(entry), store.shown]
    for attempt in (lambda: required(store.get(KEY)).files(), lambda: Store("s3://no-such-bucket")):
        with pytest.raises(StoreError) as caught:
            attempt()
        said += [str(caught.value), repr(caught.value.__cause__)]
    said += [*capsys.readouterr(), caplog.text]
    for secret in ("wholly-secret", "AKIAEXAMPLE"):
        assert not [text for text in said if secret in text]


def test_a_base_on_s3_is_read_under_a_local_overlay(bucket: str, tmp_path: Path) -> None:
    Store(f"{bucket}/base").put(KEY, FILES)
    overlay = Store(tmp_path / "overlay", base=f"{bucket}/base")
    assert required(overlay.get(KEY)).files() == FILES
    overlay.put(OTHER, FILES)
    assert overlay.digests() == sorted([KEY.digest, OTHER.digest])
    assert Store(f"{bucket}/base").digests() == [KEY.digest]
