"""Where a store can be: a folder, or a URL of fsspec; opened without secrets, refused in words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import fsspec

from iqa_robustness.errors import ConfigurationError, IqaRobustnessError, StoreError, Where

_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^/@]*@")
_USER = re.compile(r"(?<=://)[^/@]*@")


def without_secrets(url: str) -> str:
    """A URL without what stands before an @: fit for a report."""
    return _USER.sub("", url)


def opened(url: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it. No request is made yet.

    Raises:
        ConfigurationError: no such kind of URL, its driver is not installed, or it holds a password.
    """
    if _PASSWORD.search(url):
        raise ConfigurationError(
            f"the URL of the store {without_secrets(url)!r} holds a password, which process lists would show",
            fix="give it by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or in fsspec's configuration",
        )
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"the store {without_secrets(url)!r} cannot be opened: {error}",
            fix="give --iqa-store a folder, or a URL whose fsspec driver is installed (s3fs for s3://)",
        ) from error
    return fs, str(root).rstrip("/")


def is_s3(fs: Any) -> bool:
    """Whether a file system is that of s3fs, where folders are neither made nor needed."""
    protocol = fs.protocol
    return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)


def require_bucket(fs: Any, root: str, url: str) -> None:
    """Raise StoreError where an S3 store has no bucket: s3fs would make one, wherever a typing error leads."""
    bucket = root.partition("/")[0]
    try:
        with named_failures(f"opened at bucket {bucket!r}", url):
            fs.call_s3("head_bucket", Bucket=bucket)
    except StoreError as error:
        error.fix = "make the bucket first; check AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE and the credentials"
        raise


def failure(done: str, url: str, error: Exception) -> StoreError:
    """The error to raise for what a file system refused."""
    return StoreError(
        f"the store cannot be {done}: {str(error) or type(error).__name__}",
        where=Where(file=without_secrets(url)),
        fix="check free disk space and permissions, or give another --iqa-store",
    )


@contextlib.contextmanager
def named_failures(done: str, url: str) -> Iterator[None]:
    """Turn what the file system refuses into a StoreError; drivers of object stores raise their libraries' errors."""
    try:
        yield
    except IqaRobustnessError:
        raise
    except OSError as error:
        raise failure(done, url, error) from error
    except Exception as error:
        if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "gcsfs", "azure", "paramiko")):
            raise
        raise failure(done, url, error) from error
