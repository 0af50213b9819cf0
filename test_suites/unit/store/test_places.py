"""Where a store can be: secrets stay out of URLs, and what a driver refuses has one name."""

from __future__ import annotations

import errno

import pytest
from fsspec.implementations.local import LocalFileSystem

from iqa_robustness.errors import ConfigurationError, CorruptEntryError, StoreError
from iqa_robustness.store import Store
from iqa_robustness.store.places import failure, is_s3, named_failures, opened, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/store", "s3://bucket/store"),
        ("s3://AKIA:secret@bucket/store", "s3://bucket/store"),
        ("sftp://me@host/a@b", "sftp://host/a@b"),
        ("/data/a:b@c/store", "/data/a:b@c/store"),
        ("store", "store"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
    ],
)
def test_what_stands_before_an_at_is_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError, match="holds a password") as caught:
        Store("s3://AKIA:secret@bucket/store")
    assert "secret" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "AKIA:" not in str(caught.value)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.fix


def test_a_path_with_an_at_is_a_path(tmp_path: object) -> None:
    fs, root = opened(f"{tmp_path}/a:b@c/")
    assert isinstance(fs, LocalFileSystem)
    assert root == f"{tmp_path}/a:b@c"
    assert not is_s3(fs)


def test_what_a_driver_refuses_is_a_store_error_and_what_is_a_bug_stays_one() -> None:
    class EndpointConnectionError(Exception):
        __module__ = "botocore.exceptions"

    for error in (OSError(errno.EROFS, "Read-only file system"), TimeoutError(), EndpointConnectionError("no answer")):
        with pytest.raises(StoreError, match="cannot be written: ") as caught, named_failures("written", "s3://u@b/s"):
            raise error
        assert caught.value.where.file == "s3://b/s"
        assert caught.value.__cause__ is error
    for bug in (ZeroDivisionError(), CorruptEntryError("x"), KeyError("x")):
        with pytest.raises(type(bug)), named_failures("written", "store"):
            raise bug


def test_an_error_without_words_is_said_by_its_name() -> None:
    assert "TimeoutError" in failure("read", "store", TimeoutError()).what
