"""Tables that name images and their scores: csv or parquet, with errors that name file and line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iqa_robustness.errors import DatasetError, Where

# A line's number and its cells by column, without the spaces around them; a cell that is not there is empty.
Line = tuple[int, dict[str, str]]
SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text with their line numbers; the header is line 1 of a csv, the first row line 1 of a parquet file.

    dataset: what errors are about.
    file: where it was read.
    columns: in the file's order.
    lines: blank ones left out.
    """

    dataset: str
    file: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    def __iter__(self) -> Iterator[Line]:
        """Line number and cells of each row."""
        return iter(self.lines)

    def require(self, *choices: str) -> str:
        """The first of these columns that the table has. Raises DatasetError without any."""
        found = next((name for name in choices if name in self.columns), None)
        if found is None:
            raise self.fault(
                f"no column {choices[0]!r}; the table has {', '.join(self.columns)}",
                f"name a column {' or '.join(choices)} in the header line",
                1,
            )
        return found

    def cell(self, row: dict[str, str], choices: Sequence[str], line: int) -> str:
        """The cell of the first of these columns that the row has. Raises DatasetError where it is empty."""
        present = next((row[name] for name in choices if name in row), "")
        if not present:
            raise self.fault(f"the row has no {choices[0]}", "fill in the cell, or take the row out", line)
        return present

    def number(self, text: str, line: int) -> float:
        """A finite number. Raises DatasetError."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.fault(f"the score {text!r} is no finite number", "write a number with a decimal point", line)
        return value

    def fault(self, what: str, fix: str, line: int = 0) -> DatasetError:
        """The error to raise about a line, or about the whole table."""
        return DatasetError(what, where=Where(dataset=self.dataset, file=str(self.file), line=line), fix=fix)


def read_table(file: Path, *, dataset: str) -> Table:
    """A csv (UTF-8, comma-separated) or parquet file; what lies in a row beyond the header's columns is left out.

    Raises:
        DatasetError: it cannot be read, or is empty.
    """
    try:
        columns, lines = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(
            f"cannot read the table: {error}",
            where=Where(dataset=dataset, file=str(file)),
            fix="save it as comma-separated UTF-8 text",
        ) from error
    table = Table(dataset=dataset, file=file, columns=columns, lines=lines)
    if not columns:
        raise table.fault("the table is empty", "write a header line with file and mos, then a row an image")
    return table


def _csv(file: Path) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.reader(opened)
        columns = tuple(name.strip() for name in next(reader, []))
        lines: list[Line] = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                filled = (*(cell.strip() for cell in cells), *[""] * (len(columns) - len(cells)))
                lines.append((reader.line_num, dict(zip(columns, filled, strict=False))))
    return columns if any(columns) else (), tuple(lines)


def _parquet(file: Path) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    from pyarrow import parquet

    # ParquetFile and not read_table: the name of a folder such as `set=1` would become a column.
    read = parquet.ParquetFile(file).read()
    rows = ({name: _text(value) for name, value in row.items()} for row in read.to_pylist())
    return tuple(read.column_names), tuple((number, row) for number, row in enumerate(rows, 1) if any(row.values()))


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()
