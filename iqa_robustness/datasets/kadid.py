"""KADID-10k: 81 photographs under 25 distortions at 5 levels, with human scores: `kadid:PATH`."""

from __future__ import annotations

from pathlib import Path

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, inside
from iqa_robustness.datasets.tables import Table, read_table


class Kadid(ImageFiles):
    """10,125 images, 512 × 384, with their references; the reference is the content.

    Layout: PATH/images/*.png and PATH/dmos.csv with the columns `dist_img`, `ref_img` and `dmos`. What the authors call
    DMOS lies on a scale from 1 to 5 and is higher for better images, so it is taken as it is.

    Args:
        path: the folder.

    Raises:
        DatasetError: a file is missing, or a row is there twice.

    Source: Lin, Hosu, Saupe, "KADID-10k: A large-scale artificially distorted IQA database", QoMEX 2019.
    """

    def __init__(self, path: str) -> None:
        self.name = f"kadid:{path}"
        self.root = existing_folder(path, prefix="kadid", dataset=self.name)
        table = read_table(self.root / "dmos.csv", dataset=self.name)
        for column in ("dist_img", "ref_img", "dmos"):
            table.require(column)
        lines: dict[str, int] = {}
        rows = []
        for line, cells in table:
            distorted, reference = (self._file(table, cells, column, line) for column in ("dist_img", "ref_img"))
            name = distorted.stem
            if name in lines:
                raise table.fault(f"duplicate row: {name!r} is line {lines[name]} again", "keep one of the two", line)
            lines[name] = line
            mos = table.number(table.cell(cells, ("dmos",), line), line)
            rows.append(FileItem(id=name, mos=mos, content=reference.stem, file=distorted, reference=reference))
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind="human")

    def _file(self, table: Table, cells: dict[str, str], column: str, line: int) -> Path:
        name = table.cell(cells, (column,), line)
        file = self.root / "images" / name
        if Path(name).name != name or not file.is_file():
            raise table.fault(f"there is no file images/{name}", "unpack kadid10k.zip whole", line)
        return inside(file, self.root, dataset=self.name, table=table.file, line=line)
