"""A folder of images of any size and a table of their scores: `folder:PATH`."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath

from iqa_robustness.datasets.base import MosKind
from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, images_below, inside
from iqa_robustness.datasets.tables import SUFFIXES, Table, read_table
from iqa_robustness.errors import ConfigurationError, DatasetError, Where

FILE_COLUMNS = ("file", "image", "image_name", "name")
MOS_COLUMNS = ("mos", "MOS", "score")


class Folder(ImageFiles):
    """Images of any size in a folder, with a table of scores (csv or parquet); rows keep the table's order.

    The table: `PATH/mos.csv`, `PATH/mos.parquet`, or the only csv or parquet file in PATH. Its columns: `file` (or
    `image`, `image_name`, `name`), relative to PATH or to PATH/images, or the end of a path that one file below PATH
    has; `mos` (or `MOS`, `score`), higher is better; `content`, the source scene: without it each image is its own;
    `mos_kind`, `human` (as without it) or `pseudo`, the same in every row; `reference`, the file of the undistorted
    picture, of the same size; in every row or in none. An id is the file as listed, without its extension.

    Constructing reads the table and looks whether the files exist; pixels are decoded one image at a time, and files
    are hashed when the digest is first asked for.

    Args:
        path: the folder.
        scores: `table`, or `none` for all image files below the folder, without scores; each is its own content.
        unlisted: what image files are that no row lists: `ignore`d, or an `error`.

    Raises:
        DatasetError: the folder is not laid out like that; the message names file and line.
        ConfigurationError: `scores` or `unlisted` is neither.
    """

    def __init__(self, path: str, *, scores: str = "table", unlisted: str = "ignore") -> None:
        for option, value, choices in (
            ("scores", scores, ("table", "none")),
            ("unlisted", unlisted, ("ignore", "error")),
        ):
            if value not in choices:
                raise ConfigurationError(
                    f"{option}={value!r} is neither {' nor '.join(choices)}", where=Where(dataset="folder")
                )
        made = (("scores", scores if scores != "table" else ""), ("unlisted", unlisted if unlisted != "ignore" else ""))
        self.name = f"folder:{path}" + "".join(f"@{option}={value}" for option, value in made if value)
        self.root = existing_folder(path, prefix="folder", dataset=self.name)
        rows, kind = self._unscored() if scores == "none" else self._listed()
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind=kind)
        if unlisted == "error" and self.unlisted:
            raise DatasetError(
                f"{len(self.unlisted)} images have no row in the table, for one {self.place(self.unlisted[0])!r}",
                where=Where(dataset=self.name, file=str(self.unlisted[0])),
                fix="add their rows, take them out, or leave @unlisted=error out to ignore them",
            )

    @cached_property
    def unlisted(self) -> tuple[Path, ...]:
        """The image files in the folder that no row lists."""
        listed = {file.resolve() for file in self.files}
        return tuple(file for file in self._below if file.resolve() not in listed)

    @cached_property
    def _below(self) -> list[Path]:
        return images_below(self.root)

    def _unscored(self) -> tuple[list[FileItem], MosKind]:
        rows, seen = [], dict[str, Path]()
        for file in self._below:
            name = str(PurePosixPath(file.relative_to(self.root).as_posix()).with_suffix(""))
            if name in seen:
                raise DatasetError(
                    f"{seen[name].name} and {file.name} differ in the extension alone",
                    where=Where(dataset=self.name, file=str(file)),
                    fix="rename one of them: an image is called by its name without the extension",
                )
            seen[name] = file
            inside(file, self.root, dataset=self.name)
            rows.append(FileItem(id=name, mos=math.nan, content=name, file=file))
        return rows, "none"

    def _listed(self) -> tuple[list[FileItem], MosKind]:
        table = read_table(self._find_table(), dataset=self.name)
        for choices in (FILE_COLUMNS, MOS_COLUMNS):
            table.require(*choices)
        rows: list[FileItem] = []
        kinds: set[str] = set()
        lines: dict[object, int] = {}
        for line, cells in table:
            row = self._row(table, cells, line)
            for name in (row.id, row.file.resolve()):
                if name in lines:
                    raise table.fault(
                        f"duplicate row: {row.id!r} is line {lines[name]} again",
                        "list every image once, and give no two images names that differ in the extension alone",
                        line,
                    )
                lines[name] = line
            kinds.add(cells.get("mos_kind", "") or "human")
            rows.append(row)
        if not rows:
            raise table.fault("the table lists no image", "add a row for each image: its file and its score")
        return rows, _kind(kinds, table)

    def _row(self, table: Table, cells: dict[str, str], line: int) -> FileItem:
        listed = PurePosixPath(table.cell(cells, FILE_COLUMNS, line))
        file = self._locate(table, listed, line)
        name = str(listed.with_suffix(""))
        return FileItem(
            id=name,
            mos=table.number(table.cell(cells, MOS_COLUMNS, line), line),
            content=cells.get("content", "") or name,
            file=file,
            reference=self._locate(table, PurePosixPath(table.cell(cells, ("reference",), line)), line)
            if "reference" in cells
            else None,
        )

    def _find_table(self) -> Path:
        expected = self.root / "mos.csv"
        for file in (expected, expected.with_suffix(".parquet")):
            if file.is_file():
                return file
        tables = sorted(
            file
            for file in self.root.glob("*")
            if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
        )
        if len(tables) == 1:
            return tables[0]
        raise DatasetError(
            f"{len(tables)} tables and none is mos.csv: {', '.join(file.name for file in tables)}"
            if tables
            else "there is no csv or parquet of scores",
            where=Where(dataset=self.name, file=str(expected)),
            fix="write mos.csv with the columns file and mos, one row an image; a single table may have any name; "
            f"without scores write {self.name}@scores=none",
        )

    def _locate(self, table: Table, listed: PurePosixPath, line: int) -> Path:
        """The file of a row: in the folder, else in its images/, else the only one below whose path ends so."""
        if listed.is_absolute() or ".." in listed.parts:
            raise table.fault(
                f"{str(listed)!r} leaves the folder", "list files relative to the folder, without ..", line
            )
        try:
            places = [file for file in (self.root / listed, self.root / "images" / listed) if file.is_file()][:1]
        except OSError as error:
            fix = "check its name and rights"
            raise table.fault(f"cannot look for {str(listed)!r}: {error}", fix, line) from error
        places = places or [
            file for file in self._by_name[listed.name] if file.parts[-len(listed.parts) :] == listed.parts
        ]
        if len(places) > 1:
            found = ", ".join(self.place(file) for file in places)
            raise table.fault(f"{str(listed)!r} may be any of {found}", "list it with its folder", line)
        if not places:
            fix = "put it into the folder or its images/, or take the row out"
            raise table.fault(f"there is no file {str(listed)!r}", fix, line)
        return inside(places[0], self.root, dataset=self.name, table=table.file, line=line)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for file in self._below:
            found[file.name].append(file)
        return found


def _kind(kinds: set[str], table: Table) -> MosKind:
    if kinds == {"pseudo"}:
        return "pseudo"
    if kinds == {"human"}:
        return "human"
    raise table.fault(
        f"the column mos_kind says {', '.join(sorted(kinds))}", "write human or pseudo, the same in every row"
    )
