"""A folder of images of any size and a csv of their scores: `folder:PATH`."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.errors import DatasetError, ImageReadError, Where
from iqa_robustness.images import read_pixels

FILE_COLUMNS = ("file", "image", "image_name", "name")
MOS_COLUMNS = ("mos", "MOS", "score")
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class Folder(Dataset):
    """Images of any size in a folder, with a csv of scores; rows keep the csv's order.

    The table: `PATH/mos.csv`, or the only csv file in PATH. Its columns: `file` (or `image`, `image_name`, `name`),
    relative to PATH or to PATH/images; `mos` (or `MOS`, `score`), higher is better; `content`, the source scene:
    without it each image is its own; `mos_kind`, `human` (as without it) or `pseudo`, the same in every row;
    `reference`, the file of the undistorted picture, of the same size; in every row or in none.
    An id is the file as listed, without its extension.

    Constructing reads the table and looks whether the files exist; pixels are decoded one image at a time, and files
    are hashed when the digest is first asked for.

    Args:
        path: the folder.

    Raises:
        DatasetError: the folder is not laid out like that; the message names file and line.
    """

    def __init__(self, path: str) -> None:
        self.name = f"folder:{path}"
        self.root = Path(path).expanduser()
        self._table = self._find_table()
        self._items: list[Item] = []
        self._files: list[Path] = []
        self._references: list[Path] = []
        kinds: set[str] = set()
        lines: dict[object, int] = {}
        for line, row in self._rows():
            item, file = self._sample(row, line)
            for name in (item.id, file.resolve()):
                if name in lines:
                    raise self._fault(
                        f"duplicate row: {item.id!r} is line {lines[name]} again",
                        "list every image once, and give no two images names that differ in the extension alone",
                        line,
                    )
                lines[name] = line
            kinds.add(row.get("mos_kind", "") or "human")
            self._items.append(item)
            self._files.append(file)
            if "reference" in row:
                self._references.append(self._locate(PurePosixPath(self._cell(row, ("reference",), line)), line))
        if not self._items:
            raise self._fault("the table lists no image", "add a row for each image: its file and its score")
        self.mos_kind = self._kind(kinds)
        self.has_references = bool(self._references)
        self._digest = ""
        self._unlisted = -1

    @property
    def items(self) -> Sequence[Item]:
        """One item a row of the table, in its order."""
        return self._items

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every row's id, score, content and the SHA-256 of its file's bytes, its reference's too.

        Raises:
            ImageReadError: a file has gone since.
        """
        if not self._digest:
            rows: list[tuple[str | float, ...]] = [
                (item.id, item.mos, item.content, self._file_digest(file))
                for item, file in zip(self._items, self._files, strict=True)
            ]
            if self._references:
                rows = [(*row, self._file_digest(file)) for row, file in zip(rows, self._references, strict=True)]
            self._digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return self._digest

    @property
    def unlisted(self) -> int:
        """How many image files lie in the folder that no row lists; they are ignored."""
        if self._unlisted < 0:
            listed = {file.resolve() for file in (*self._files, *self._references)}
            found = (file for file in self.root.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
            self._unlisted = sum(file.resolve() not in listed for file in found)
        return self._unlisted

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of one sample, decoded now. Raises ImageReadError, which names the file."""
        return self._read(self._files[index], index)

    def reference_pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a sample's reference, or of the sample where the table names none."""
        return self._read((self._references or self._files)[index], index)

    def _read(self, file: Path, index: int) -> np.ndarray:
        try:
            return read_pixels(file, name=self._items[index].id)
        except ImageReadError as error:
            error.at(dataset=self.name, file=str(file))
            raise

    def _find_table(self) -> Path:
        if not self.root.is_dir():
            raise DatasetError(
                f"there is no folder {str(self.root)!r}",
                where=Where(dataset=self.name),
                fix="check the path after folder:",
            )
        expected = self.root / "mos.csv"
        if expected.is_file():
            return expected
        tables = sorted(file for file in self.root.glob("*.csv") if file.is_file() and not file.name.startswith("."))
        if len(tables) == 1:
            return tables[0]
        raise DatasetError(
            f"{len(tables)} csv files and none is mos.csv: {', '.join(file.name for file in tables)}"
            if tables
            else "there is no csv of scores",
            where=Where(dataset=self.name, file=str(expected)),
            fix="write mos.csv with the columns file and mos, one row an image; a single csv may have any name",
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells by column, without the spaces around them."""
        try:
            # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
            with self._table.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                columns = [name.strip() for name in next(reader, [])]
                if not columns:
                    raise self._fault(
                        "the table is empty", "write a header line with file and mos, then a row an image"
                    )
                for choices in (FILE_COLUMNS, MOS_COLUMNS):
                    if not set(choices) & set(columns):
                        raise self._fault(
                            f"no column {choices[0]!r}; the table has {', '.join(columns)}",
                            f"name a column {' or '.join(choices)} in the header line",
                            1,
                        )
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        filled = (*(cell.strip() for cell in cells), *[""] * (len(columns) - len(cells)))
                        yield reader.line_num, dict(zip(columns, filled, strict=False))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(
                f"cannot read the table: {error}",
                where=Where(dataset=self.name, file=str(self._table)),
                fix="save it as comma-separated UTF-8 text",
            ) from error

    def _sample(self, row: dict[str, str], line: int) -> tuple[Item, Path]:
        listed = PurePosixPath(self._cell(row, FILE_COLUMNS, line))
        file = self._locate(listed, line)
        name = str(listed.with_suffix(""))
        score = self._score(self._cell(row, MOS_COLUMNS, line), line)
        return Item(id=name, mos=score, content=row.get("content", "") or name), file

    def _cell(self, row: dict[str, str], choices: tuple[str, ...], line: int) -> str:
        present = next((row[name] for name in choices if name in row), "")
        if not present:
            raise self._fault(f"the row has no {choices[0]}", "fill in the cell, or take the row out", line)
        return present

    def _score(self, text: str, line: int) -> float:
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise self._fault(f"the score {text!r} is no finite number", "write a number with a decimal point", line)
        return score

    def _locate(self, listed: PurePosixPath, line: int) -> Path:
        """The file of a row: in the folder, else in its images/; never outside."""
        if listed.is_absolute() or ".." in listed.parts:
            raise self._fault(
                f"{str(listed)!r} leaves the folder", "list files relative to the folder, without ..", line
            )
        try:
            file = next((f for f in (self.root / listed, self.root / "images" / listed) if f.is_file()), None)
        except OSError as error:
            raise self._fault(f"cannot look for {str(listed)!r}: {error}", "check its name and rights", line) from error
        if file is None:
            fix = "put it into the folder or its images/, or take the row out"
            raise self._fault(f"there is no file {str(listed)!r}", fix, line)
        if not file.resolve().is_relative_to(self.root.resolve()):
            raise self._fault(
                f"{str(listed)!r} leaves the folder: it links to {file.resolve()}",
                "copy the file into the folder instead of linking to it",
                line,
            )
        return file

    def _kind(self, kinds: set[str]) -> MosKind:
        if kinds == {"pseudo"}:
            return "pseudo"
        if kinds == {"human"}:
            return "human"
        raise self._fault(
            f"the column mos_kind says {', '.join(sorted(kinds))}", "write human or pseudo, the same in every row"
        )

    def _file_digest(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageReadError(
                f"cannot read the image: {error}",
                where=Where(dataset=self.name, file=str(path)),
                fix="put the file back, or take its row out of the table",
            ) from error

    def _fault(self, what: str, fix: str, line: int = 0) -> DatasetError:
        return DatasetError(what, where=Where(dataset=self.name, file=str(self._table), line=line), fix=fix)
