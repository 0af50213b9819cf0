"""What data sets of image files have in common: rows with a file each, a digest over their bytes, a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.errors import DatasetError, ImageReadError, Where
from iqa_robustness.images import read_pixels

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class FileItem(Item):
    """A sample that is a file.

    file: its place.
    reference: the file of the undistorted picture, where the data set has one.
    part: of the published split it is in, such as `training`; empty without one.
    """

    file: Path
    reference: Path | None = None
    part: str = ""


class ImageFiles(Dataset):
    """Image files of any size, decoded one at a time, and hashed when the digest is first asked for.

    Args:
        name: as given to `datasets.load`.
        root: the folder that all files lie in.
        rows: one an image, ids and files unique.
        mos_kind: of the scores.

    Raises:
        DatasetError: there is no row, or some have a reference and others have none.
    """

    threaded = True

    def __init__(self, *, name: str, root: Path, rows: Sequence[FileItem], mos_kind: MosKind) -> None:
        self.name = name
        self.root = root
        self.mos_kind = mos_kind
        self.rows = tuple(rows)
        if not self.rows:
            raise DatasetError(
                "the data set has no image", where=Where(dataset=name), fix="check the folder, or choose another part"
            )
        with_reference = sum(row.reference is not None for row in self.rows)
        if with_reference not in (0, len(self.rows)):
            raise DatasetError(
                f"{with_reference} of {len(self.rows)} images have a reference",
                where=Where(dataset=name),
                fix="give every image a reference, or none",
            )
        self.has_references = bool(with_reference)
        self._items = tuple(Item(id=row.id, mos=row.mos, content=row.content) for row in self.rows)
        self._digest = ""

    @property
    def items(self) -> Sequence[Item]:
        """One item a row, in their order."""
        return self._items

    @property
    def origin(self) -> str:
        """The folder: parts and lists of one folder name its scenes alike."""
        return str(self.root.resolve())

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every row's id, score, content and the SHA-256 of its file's bytes, its reference's too.

        Raises:
            ImageReadError: a file has gone since.
        """
        if not self._digest:
            digests: dict[Path, str] = {}
            rows: list[tuple[str | float, ...]] = []
            for row in self.rows:
                files = [row.file] if row.reference is None else [row.file, row.reference]
                for file in files:
                    if file not in digests:
                        digests[file] = self.file_digest(file)
                rows.append((row.id, row.mos, row.content, *(digests[file] for file in files)))
            self._digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return self._digest

    @property
    def files(self) -> list[Path]:
        """Every file once, references too, in the order of the rows."""
        return [*dict.fromkeys(file for row in self.rows for file in (row.file, row.reference) if file is not None)]

    def manifest(self) -> dict[str, Any]:
        """SHA-256 and size of every file by its place in the folder, and the data set's digest.

        Raises:
            ImageReadError: a file has gone since.
        """
        facts = {
            self.place(file): {"sha256": self.file_digest(file), "size": file.stat().st_size} for file in self.files
        }
        return {"manifest": 1, "images": len(self.rows), "digest": self.digest, "files": dict(sorted(facts.items()))}

    def place(self, file: Path) -> str:
        """A file as a manifest names it: relative to the folder, with forward slashes."""
        return file.relative_to(self.root).as_posix()

    def only(self, chosen: Sequence[int], *, name: str) -> ImageFiles:
        """Some rows as a data set of its own, whose digest says nothing of the others."""
        rows = [self.rows[index] for index in chosen]
        part = ImageFiles(name=name, root=self.root, rows=rows, mos_kind=self.mos_kind)
        part.threaded = self.threaded
        return part

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of one sample, decoded now. Raises ImageReadError, which names the file."""
        return self._read(self.rows[index].file, index)

    def reference_pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a sample's reference, or of the sample where it has none."""
        row = self.rows[index]
        return self._read(row.reference or row.file, index)

    def file_digest(self, path: Path) -> str:
        """SHA-256 (hex) of a file. Raises ImageReadError."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageReadError(
                f"cannot read the image: {error}",
                where=Where(dataset=self.name, file=str(path)),
                fix="put the file back, or take its row out of the table",
            ) from error

    def _read(self, file: Path, index: int) -> np.ndarray:
        try:
            return read_pixels(file, name=self.items[index].id)
        except ImageReadError as error:
            error.at(dataset=self.name, file=str(file))
            raise


def existing_folder(path: str, *, prefix: str, dataset: str) -> Path:
    """The folder of `prefix:PATH`. Raises DatasetError when there is none."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DatasetError(
            f"there is no folder {str(root)!r}",
            where=Where(dataset=dataset),
            fix=f"check the path after {prefix}:",
        )
    return root


def inside(file: Path, root: Path, *, dataset: str, table: Path | None = None, line: int = 0) -> Path:
    """The file, which must not leave the folder through a link. Raises DatasetError."""
    target = file.resolve()
    if not target.is_relative_to(root.resolve()):
        raise DatasetError(
            f"{file.relative_to(root).as_posix()!r} leaves the folder: it links to {target}",
            where=Where(dataset=dataset, file=str(table or file), line=line),
            fix="copy the file into the folder instead of linking to it",
        )
    return file


def images_below(root: Path) -> list[Path]:
    """All image files below a folder by their suffix, sorted; what is hidden is left out."""
    return sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
