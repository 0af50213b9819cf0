"""LIVE In the Wild Image Quality Challenge Database: 1,162 photographs with human scores: `live-itw:PATH`."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, inside
from iqa_robustness.errors import DatasetError, Where

# The first seven images trained the observers; their files lie in a folder of their own, and nobody evaluates on them.
TRAINING = 7


class LiveItw(ImageFiles):
    """Photographs of about 500 × 500 pixels with MOS from 0 to 100; every image is its own content.

    Layout: PATH/Images/*.bmp and *.JPG, PATH/Data/AllImages_release.mat (names) and PATH/Data/AllMOS_release.mat
    (scores), each with 1,169 entries, of which the first seven are the observers' training images and left out.

    Args:
        path: the folder, `ChallengeDB_release`.

    Raises:
        DatasetError: a file is missing or cannot be read, or there are not as many scores as names.

    Source: Ghadiyaram, Bovik, "Massive Online Crowdsourced Study of Subjective and Objective Picture Quality", IEEE TIP
    2016.
    """

    def __init__(self, path: str) -> None:
        self.name = f"live-itw:{path}"
        self.root = existing_folder(path, prefix="live-itw", dataset=self.name)
        names = [str(np.ravel(cell)[0]) for cell in np.ravel(self._matrix("AllImages_release"))]
        scores = [float(score) for score in np.ravel(self._matrix("AllMOS_release"))]
        if len(names) != len(scores) or len(set(names)) != len(names) or not np.isfinite(scores).all():
            raise self._fault(
                f"{len(names)} names, {len({*names})} of them different, and {np.isfinite(scores).sum()} scores",
                "AllMOS_release",
            )
        rows = []
        for name, mos in [*zip(names, scores, strict=True)][TRAINING:]:
            file = self.root / "Images" / name
            if Path(name).name != name or not file.is_file():
                raise DatasetError(
                    f"there is no file Images/{name}",
                    where=Where(dataset=self.name, image=name),
                    fix="unpack ChallengeDB_release.zip whole",
                )
            inside(file, self.root, dataset=self.name)
            rows.append(FileItem(id=file.stem, mos=mos, content=file.stem, file=file))
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind="human")

    def _matrix(self, name: str) -> Any:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        try:
            return loadmat(self.root / "Data" / f"{name}.mat")[name]
        except (MatReadError, OSError, KeyError, ValueError, TypeError, zlib.error) as error:
            raise self._fault(f"cannot read it: {error}", name) from error

    def _fault(self, what: str, name: str) -> DatasetError:
        file = self.root / "Data" / f"{name}.mat"
        return DatasetError(
            what, where=Where(dataset=self.name, file=str(file)), fix="restore the file from ChallengeDB_release.zip"
        )
