"""Parts of a data set: those images that a list names, or those that can be read."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item
from iqa_robustness.datasets.files import ImageFiles
from iqa_robustness.datasets.reading import Gathered, stream
from iqa_robustness.datasets.tables import Table, read_table
from iqa_robustness.errors import DatasetError, UnreadableImagesWarning, Where

ID_COLUMNS = ("id", "image_name", "file", "name")


class Part(Dataset):
    """Some samples of any data set, at their own size."""

    def __init__(self, base: Dataset, chosen: Sequence[int], *, name: str) -> None:
        self.name = name
        self.base = base
        self.chosen = tuple(chosen)
        self.mos_kind = base.mos_kind
        self.has_references = base.has_references
        self.threaded = base.threaded

    @cached_property
    def items(self) -> Sequence[Item]:
        """The chosen samples."""
        return [self.base.items[index] for index in self.chosen]

    @property
    def origin(self) -> str:
        """The base's."""
        return self.base.origin

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the base's digest and the chosen ids."""
        return hashlib.sha256(json.dumps([self.base.digest, [item.id for item in self.items]]).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """Of one sample. Raises ImageReadError."""
        return self.base.pixels(self.chosen[index])

    def reference_pixels(self, index: int) -> np.ndarray:
        """Of one sample's reference. Raises ImageReadError."""
        return self.base.reference_pixels(self.chosen[index])


def part_of(data: Dataset, chosen: Sequence[int], *, name: str) -> Dataset:
    """Some samples of a data set; of image files only those chosen are ever hashed."""
    part = data.only(chosen, name=name) if isinstance(data, ImageFiles) else Part(data, chosen, name=name)
    if data.ranks is not None:
        part.ranks = [data.ranks[index] for index in chosen]
    return part


def listed(data: Dataset, file: Path, *, name: str, column: str = "", value: str = "") -> Dataset:
    """The samples that a csv names, in the data set's order; scores and contents stay the data set's.

    Args:
        data: where they come from.
        file: a csv or parquet file with the column `id` (or `image_name`, `file`, `name`); an extension is left out.
            Where it has the column `rank`, a smaller choice takes the images of lowest rank.
        name: of the part.
        column: only rows whose cell in this column is `value`; all rows without it.
        value: see `column`.

    Raises:
        DatasetError: a row names no image of the data set or one that another row names, or no row is left.
    """
    table = read_table(file.expanduser(), dataset=name)
    own = table.require(*ID_COLUMNS)
    if column:
        table.require(column)
    places = {item.id: index for index, item in enumerate(data.items)}
    lines: dict[int, int] = {}
    ranks: dict[int, int] = {}
    for line, row in table:
        if column and row[column] != value:
            continue
        text = table.cell(row, (own,), line)
        index = places.get(text, places.get(str(Path(text).with_suffix(""))))
        if index is None:
            raise table.fault(
                f"the data set has no image {text!r}", "take the row out, or give the data set of the list", line
            )
        if index in lines:
            raise table.fault(f"duplicate row: {text!r} is line {lines[index]} again", "keep one of the two", line)
        lines[index] = line
        if "rank" in row:
            ranks[index] = _rank(table, row["rank"], line)
    if not lines:
        raise table.fault("the list names no image", "add a row for each image, with its id")
    part = part_of(data, sorted(lines), name=name)
    if ranks:
        part.ranks = [ranks[index] for index in sorted(lines)]
    return part


def _rank(table: Table, text: str, line: int) -> int:
    if not text.isdecimal():
        raise table.fault(f"the rank {text!r} is no whole number", "number the images from 0 on", line)
    return int(text)


def readable(data: Dataset, *, name: str) -> Dataset:
    """The samples whose image can be read, all of which are read now; a warning names the others' files.

    Raises:
        DatasetError: none can be read.
    """
    broken = Gathered()
    chosen = [row for row, _ in stream(data, on_error=broken)]
    if not chosen:
        raise DatasetError(
            f"none of {len(data)} images can be read, the first because of: {broken.errors[0].what}",
            where=Where(dataset=name),
            fix="restore the files",
        ) from broken.errors[0]
    if broken.errors:
        files = ", ".join(error.where.file or error.where.image for error in broken.errors)
        warnings.warn(
            f"{name}: {len(broken.errors)} of {len(data)} images cannot be read and are left out: {files}",
            UnreadableImagesWarning,
            stacklevel=2,
        )
    return part_of(data, chosen, name=name) if broken.errors else data
