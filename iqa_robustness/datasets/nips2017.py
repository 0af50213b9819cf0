"""The development images of the NIPS 2017 competition on adversarial attacks: `nips2017:PATH`."""

from __future__ import annotations

import math

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, images_below, inside
from iqa_robustness.datasets.tables import read_table
from iqa_robustness.errors import DatasetError, Where

TABLES = ("images.csv", "dev_dataset.csv")


class Nips2017(ImageFiles):
    """1,000 photographs, 299 × 299, without opinion scores: SROCC with them is not applicable, D_score is.

    Layout: PATH/images/*.png (or PATH/*.png) and, where it is there, PATH/images.csv (Kaggle's) or PATH/dev_dataset.csv
    (CleverHans') with the column `ImageId`, whose rows then are the images. Every image is its own content.

    Args:
        path: the folder.

    Raises:
        DatasetError: an image or a folder is missing, or a row is there twice.

    Source: Kurakin et al., "Adversarial Attacks and Defences Competition", 2018; the set of images that the earlier
    study of purification attacks (arXiv 2404.06957).
    """

    def __init__(self, path: str) -> None:
        self.name = f"nips2017:{path}"
        self.root = existing_folder(path, prefix="nips2017", dataset=self.name)
        folder = self.root / "images" if (self.root / "images").is_dir() else self.root
        files = {file.stem: file for file in images_below(folder) if file.parent == folder and file.suffix == ".png"}
        table = next((self.root / name for name in TABLES if (self.root / name).is_file()), None)
        if table is not None:
            listed = read_table(table, dataset=self.name)
            listed.require("ImageId")
            seen: dict[str, int] = {}
            for line, row in listed:
                name = listed.cell(row, ("ImageId",), line)
                if name in seen:
                    raise listed.fault(f"duplicate row: {name!r} is line {seen[name]} again", "keep one", line)
                if name not in files:
                    raise listed.fault(f"there is no image {name}.png", "put it there, or take its row out", line)
                seen[name] = line
            files = {name: files[name] for name in seen}
        if not files:
            raise DatasetError(
                f"there is no png file in {str(folder)!r}",
                where=Where(dataset=self.name),
                fix="give the folder that holds images/ of the development set",
            )
        rows = [
            FileItem(id=name, mos=math.nan, content=name, file=inside(file, self.root, dataset=self.name))
            for name, file in files.items()
        ]
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind="none")
