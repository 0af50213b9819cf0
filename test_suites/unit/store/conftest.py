"""Where the stores of these tests are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a store is: a folder, or an object store of fsspec, whose locks are at home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if request.param == "local":
        yield str(tmp_path / "store")
        return
    place = f"iqa-{uuid.uuid4().hex}"
    yield f"memory://{place}/store"
    fsspec.filesystem("memory").rm(f"/{place}", recursive=True)
