"""Images to learn from: a data set, a folder of photographs without scores, or several of these as one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iqa_robustness import datasets
from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.datasets.files import IMAGE_SUFFIXES
from iqa_robustness.errors import ConfigurationError, DatasetError, Where
from iqa_robustness.images import read_pixels

PHOTOGRAPHS = "photographs"


class Photographs(Dataset):
    """Every image file of a folder, sorted by name, each a content of its own; nobody has judged them (MOS is NaN).

    Args:
        path: the folder.

    Raises:
        DatasetError: there is none. ImageReadError, later: a broken file.
    """

    mos_kind: MosKind = "pseudo"

    def __init__(self, path: str) -> None:
        self.name = f"{PHOTOGRAPHS}:{path}"
        folder = Path(path).expanduser()
        self._files = sorted(f for f in folder.glob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
        if not self._files:
            raise DatasetError("no images here", where=Where(dataset=self.name), fix="give the folder of the images")
        self._items = tuple(Item(id=file.stem, mos=math.nan, content=file.stem) for file in self._files)

    @property
    def items(self) -> Sequence[Item]:
        """One item a file."""
        return self._items

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over names and bytes of the files."""
        rows = [(file.stem, hashlib.sha256(file.read_bytes()).hexdigest()) for file in self._files]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, decoded now."""
        return read_pixels(self._files[index], name=self._items[index].id)


class Joined(Dataset):
    """Several data sets, one after the other; contents of different ones are different.

    Args:
        parts: at least one; opinions of all on one scale, or of none used.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.name = "+".join(part.name for part in parts)
        self.mos_kind = "human" if all(part.mos_kind == "human" for part in parts) else "pseudo"
        self.parts = tuple(parts)
        self._items = tuple(
            Item(id=f"{number}/{item.id}", mos=item.mos, content=f"{number}/{item.content}")
            for number, part in enumerate(parts)
            for item in part.items
        )
        self._places = [(part, index) for part in parts for index in range(len(part.items))]

    @property
    def items(self) -> Sequence[Item]:
        """Of the parts, in their order."""
        return self._items

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the parts' digests."""
        return hashlib.sha256(json.dumps([part.digest for part in self.parts]).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, decoded now."""
        part, place = self._places[index]
        return part.pixels(place)


def load(references: Sequence[str]) -> Dataset:
    """A data set by reference (`leaves`, `folder:PATH`), `photographs:PATH` for a folder without scores; or several.

    Raises:
        ConfigurationError: none is named. DatasetError and others: what `datasets.load` raises.
    """
    if not references:
        raise ConfigurationError("no data set is named", fix="give --iqa-dataset, for one leaves or folder:PATH")
    loaded = []
    for reference in references:
        name, _, path = reference.partition(":")
        loaded.append(Photographs(path) if name == PHOTOGRAPHS else datasets.load(reference))
    return loaded[0] if len(loaded) == 1 else Joined(loaded)
