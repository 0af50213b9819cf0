"""The bundled data set: ten photographs in five quality levels each, with a pseudo MOS."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.datasets.distortion import Distortion
from iqa_robustness.images import read_pixels
from iqa_robustness.streams import seed_of

# Raised with every change of a level's pixels: the digest names the recipe by this number instead of making the levels.
VERSION = 1

COLUMNS = ("id", "content", "level", "mos")

# Level 0 is the untouched photograph; these are levels 1 to 4. The strengths put the pseudo MOS near 85, 68, 50, 33.
LEVELS: Mapping[str, tuple[Distortion, Distortion, Distortion, Distortion]] = MappingProxyType(
    {
        "astronaut": (Distortion(blur=1), Distortion(blur=4), Distortion(blur=11), Distortion(blur=36)),
        "camera": (Distortion(noise=6), Distortion(noise=10), Distortion(noise=16), Distortion(noise=25)),
        "chelsea": (Distortion(coding=17), Distortion(coding=30), Distortion(coding=48), Distortion(coding=79)),
        "china": (Distortion(coding=17), Distortion(coding=36), Distortion(coding=58), Distortion(coding=81)),
        "coffee": (
            Distortion(contrast=208, coding=15),
            Distortion(contrast=160, coding=20),
            Distortion(contrast=112, coding=23),
            Distortion(contrast=80, coding=33),
        ),
        "flower": (
            Distortion(contrast=208, noise=6),
            Distortion(contrast=160, noise=11),
            Distortion(contrast=128, noise=16),
            Distortion(contrast=96, noise=26),
        ),
        "gravel": (Distortion(blur=1), Distortion(blur=3), Distortion(blur=7), Distortion(blur=14)),
        "hopper": (
            Distortion(blur=1, coding=6),
            Distortion(blur=3, coding=18),
            Distortion(blur=6, coding=45),
            Distortion(blur=10, coding=76),
        ),
        "hubble": (Distortion(noise=7), Distortion(noise=13), Distortion(noise=22), Distortion(noise=36)),
        "rocket": (
            Distortion(blur=1, noise=5),
            Distortion(blur=2, noise=9),
            Distortion(blur=3, noise=14),
            Distortion(blur=4, noise=23),
        ),
    }
)


def level_pixels(reference: np.ndarray, content: str, level: int) -> np.ndarray:
    """One quality level of a content, (384, 512, 3) uint8.

    Args:
        reference: (384, 512, 3) uint8, the untouched photograph.
        content: a key of `LEVELS`; it decides the distortion and seeds the grain.
        level: 0 (untouched) to 4 (worst).
    """
    if level == 0:
        return reference.copy()
    seed = seed_of("mini", f"{content}-{level}") % 2**32
    return LEVELS[content][level - 1].apply(reference, seed=seed)


class Mini(Dataset):
    """Fifty images, 384x512: ten photographs (bundled/mini, see its CREDITS.md) in five quality levels each.

    The levels are made when they are read, in integer arithmetic, bit-equal everywhere.
    MOS: `pseudo_mos` of a level and its photograph, 100 for level 0 down to about 33 for level 4.
    Cost: 20 to 50 ms an image; the ten decoded photographs (6 MB) stay in memory once read.
    """

    name = "mini"
    mos_kind: MosKind = "pseudo"
    has_references = True

    def __init__(self) -> None:
        self._folder = files("iqa_robustness.datasets") / "bundled" / "mini"
        table = csv.DictReader(io.StringIO((self._folder / "mos.csv").read_text(encoding="utf-8")))
        rows = [(Item(id=row["id"], mos=float(row["mos"]), content=row["content"]), int(row["level"])) for row in table]
        self._items = tuple(item for item, _ in rows)
        self._levels = tuple(level for _, level in rows)
        self._references: dict[str, np.ndarray] = {}
        self._digest = ""

    @property
    def items(self) -> Sequence[Item]:
        """Contents in alphabetical order, each from level 0 to level 4; ids read `content-level`."""
        return self._items

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the recipe's version, ids, scores, contents and the photographs' decoded pixels."""
        if not self._digest:
            document = [VERSION, [(item.id, item.mos, item.content) for item in self._items]]
            digest = hashlib.sha256(json.dumps(document).encode())
            for content in sorted(LEVELS):
                digest.update(self.reference(content).tobytes())
            self._digest = digest.hexdigest()
        return self._digest

    def reference(self, content: str) -> np.ndarray:
        """The untouched photograph of a content, (384, 512, 3) uint8, read-only."""
        if content not in self._references:
            file = self._folder / f"{content}.png"
            pixels = read_pixels(file.read_bytes(), name=f"mini/{file.name}")
            pixels.setflags(write=False)
            self._references[content] = pixels
        return self._references[content]

    def pixels(self, index: int) -> np.ndarray:
        """(384, 512, 3) uint8 RGB of one sample."""
        content = self._items[index].content
        return level_pixels(self.reference(content), content, self._levels[index])

    def reference_pixels(self, index: int) -> np.ndarray:
        """(384, 512, 3) uint8 RGB of the sample's untouched photograph."""
        return self.reference(self._items[index].content)
