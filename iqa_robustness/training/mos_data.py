"""The photographs that metrics are trained on, read from their folders."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iqa_robustness.errors import DatasetError, Where
from iqa_robustness.images import read_pixels


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph, with a human score or without.

    name: of its file, without the suffix; unique in its folder.
    content: the source scene; training and validation never share one.
    pixels: (H, W, 3) uint8 RGB.
    mos: mean opinion score, 0 to 100; None where nobody judged it.
    """

    name: str
    content: str
    pixels: np.ndarray
    mos: float | None = None


def read_sr4kiqa(folder: Path) -> list[Photograph]:
    """Photographs with human scores: `mos.csv` (file, content, mos_norm in 0 … 1) and `images/`.

    Raises:
        DatasetError: the table is missing or lacks a column; ImageReadError for a broken image.
    """
    table = _table(folder / "mos.csv", {"file", "content", "mos_norm"})
    return [
        Photograph(
            name=Path(row["file"]).stem,
            content=row["content"],
            pixels=read_pixels(folder / "images" / row["file"]),
            mos=100 * _number(row["mos_norm"], folder / "mos.csv", row["file"]),
        )
        for row in table
    ]


def read_nips2017(folder: Path) -> list[Photograph]:
    """Undistorted photographs without scores: `images.csv` (ImageId) and `images/`; each is a content of its own.

    Raises:
        DatasetError: the table is missing or lacks the column; ImageReadError for a broken image.
    """
    names = [row["ImageId"] for row in _table(folder / "images.csv", {"ImageId"})]
    return [
        Photograph(name=name, content=name, pixels=read_pixels(folder / "images" / f"{name}.png")) for name in names
    ]


def read_folder(folder: Path) -> list[Photograph]:
    """Every PNG of a folder, sorted by name; each is a content of its own.

    Raises:
        DatasetError: there is none; ImageReadError for a broken image.
    """
    files = sorted(folder.glob("*.png"))
    if not files:
        raise DatasetError("no PNG images here", where=Where(file=str(folder)), fix="give the folder of the images")
    return [Photograph(name=file.stem, content=file.stem, pixels=read_pixels(file)) for file in files]


def contents(photographs: Sequence[Photograph]) -> list[str]:
    """The source scenes, sorted."""
    return sorted({photograph.content for photograph in photographs})


def content_folds(photographs: Sequence[Photograph], count: int, *, seed: int) -> list[frozenset[str]]:
    """The contents dealt into `count` disjoint sets of nearly equal size, shuffled by the seed."""
    names = contents(photographs)
    order = np.random.default_rng(seed).permutation(len(names))
    return [frozenset(names[index] for index in order[start::count]) for start in range(count)]


def digest(photographs: Sequence[Photograph]) -> str:
    """SHA-256 (hex) over names, scores and pixels, whatever the order."""
    parts = sorted(
        f"{photograph.name}\0{photograph.content}\0{photograph.mos}\0"
        + hashlib.sha256(photograph.pixels.tobytes()).hexdigest()
        for photograph in photographs
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _table(path: Path, columns: set[str]) -> list[dict[str, str]]:
    where = Where(file=str(path))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the table: {error}", where=where, fix="check the folder's path") from error
    if not rows:
        raise DatasetError("the table has no rows", where=where)
    missing = columns - set(rows[0])
    if missing:
        raise DatasetError(f"the table has no column {sorted(missing)[0]!r}", where=where)
    short = [number for number, row in enumerate(rows, start=2) if any(row[column] is None for column in columns)]
    if short:
        raise DatasetError(f"line {short[0]} of the table is too short", where=where)
    return rows


def _number(text: str, path: Path, image: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DatasetError(f"the score {text!r} is no number", where=Where(file=str(path), image=image)) from None
