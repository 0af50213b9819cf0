"""Pictures and tables that the tests of data sets write themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    """(rows, columns, 3) uint8, another one for each seed."""

    def make(seed: int, rows: int = 12, columns: int = 16) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def put(picture: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write `picture(seed)`, in the format of the suffix; folders are made."""

    def write(path: Path, seed: int, rows: int = 12, columns: int = 16) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, rows, columns)).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def table() -> Callable[[Path, Iterable[str]], Path]:
    """Write lines of text; folders are made."""

    def write(path: Path, lines: Iterable[str]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
