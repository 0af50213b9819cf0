"""SPAQ: 11,125 photographs of 66 smartphones with human scores: `spaq:PATH`."""

from __future__ import annotations

import zipfile
from pathlib import Path

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, inside
from iqa_robustness.datasets.tables import Table, read_table
from iqa_robustness.errors import DatasetError, Where

SHEET = "MOS and Image attribute scores.xlsx"


class Spaq(ImageFiles):
    """Large photographs (up to 4032 pixels a side) with MOS from 0 to 100; every image is its own content.

    Layout: PATH/TestImage/*.jpg and PATH/Annotations/"MOS and Image attribute scores.xlsx" with the columns
    `Image name` and `MOS`. The sheet needs openpyxl (extra `xlsx`); saved as a csv of the same name, it needs nothing.

    Args:
        path: the folder.

    Raises:
        DatasetError: a file is missing, the sheet cannot be read, or a row is there twice.

    Source: Fang et al., "Perceptual Quality Assessment of Smartphone Photography", CVPR 2020; github.com/h4nwei/SPAQ.
    """

    def __init__(self, path: str) -> None:
        self.name = f"spaq:{path}"
        self.root = existing_folder(path, prefix="spaq", dataset=self.name)
        table = self._table()
        for column in ("Image name", "MOS"):
            table.require(column)
        lines: dict[str, int] = {}
        rows = []
        for line, cells in table:
            name = table.cell(cells, ("Image name",), line)
            file = self.root / "TestImage" / name
            if Path(name).name != name or not file.is_file():
                raise table.fault(f"there is no file TestImage/{name}", "unpack TestImage.zip whole", line)
            if file.stem in lines:
                raise table.fault(f"duplicate row: {name!r} is line {lines[file.stem]} again", "keep one", line)
            lines[file.stem] = line
            mos = table.number(table.cell(cells, ("MOS",), line), line)
            inside(file, self.root, dataset=self.name, table=table.file, line=line)
            rows.append(FileItem(id=file.stem, mos=mos, content=file.stem, file=file))
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind="human")

    def _table(self) -> Table:
        sheet = self.root / "Annotations" / SHEET
        if sheet.with_suffix(".csv").is_file() or not sheet.is_file():
            return read_table(sheet.with_suffix(".csv"), dataset=self.name)
        where = Where(dataset=self.name, file=str(sheet))
        try:
            from openpyxl import load_workbook
        except ImportError as error:
            raise DatasetError(
                "the sheet of scores needs openpyxl, which is not installed",
                where=where,
                fix="pip install 'iqa-robustness[xlsx]', or save the sheet as a csv of the same name beside it",
            ) from error
        try:
            book = load_workbook(sheet, read_only=True, data_only=True)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetError(f"cannot read the sheet: {error}", where=where, fix="restore the file") from error
        read = [["" if cell is None else str(cell).strip() for cell in row] for row in book.active.values]
        book.close()
        columns, *cells = read or [[]]
        lines = [(n, dict(zip(columns, row, strict=False))) for n, row in enumerate(cells, 2) if any(row)]
        return Table(dataset=self.name, file=sheet, columns=tuple(columns), lines=tuple(lines))
