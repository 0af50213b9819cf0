"""The `leaves` data set: pictures that no one took, to train attacks on without seeing what they are judged on.

Dead leaves: shapes of all sizes that hide each other, as things in photographs do. Integer arithmetic alone, so that no
library version or CPU changes one bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.datasets.distortion import Distortion
from iqa_robustness.streams import seed_of

# Raised with every change of a pixel: the digest names the recipe by this number instead of making the pictures.
VERSION = 1
HEIGHT, WIDTH = 384, 512
PICTURES = 40

_LEVELS = 5
_SHAPES = 500
# Radii in pixels, with a density that falls with their cube, as sizes in photographs do.
_SMALLEST, _LARGEST = 6, 200
# A third of the shapes is smooth.
_LEAST_GRAIN = 10
# What levels 1 to 4 of a picture look like; pictures take turns.
_DISTORTIONS = (
    (Distortion(blur=1), Distortion(blur=3), Distortion(blur=6), Distortion(blur=12)),
    (Distortion(noise=5), Distortion(noise=10), Distortion(noise=16), Distortion(noise=25)),
    (Distortion(coding=15), Distortion(coding=30), Distortion(coding=50), Distortion(coding=80)),
    (
        Distortion(contrast=208, blur=1, coding=10),
        Distortion(contrast=160, noise=8),
        Distortion(contrast=112, coding=23),
        Distortion(contrast=80, blur=4),
    ),
)


class Leaves(Dataset):
    """Forty pictures, 384x512, each a content of its own, at five levels of quality in turn.

    MOS: 100 less 25 a level: an order, no measurement.
    Source: Lee, Mumford, Huang, IJCV 2001 (dead leaves with sizes ~ 1/r³ have the statistics of photographs); shading,
    grain and the levels are this package's.
    Cost: about 80 ms a picture, once in a process (600 kB each stay in memory).
    """

    name = "leaves"
    mos_kind: MosKind = "pseudo"

    def __init__(self) -> None:
        self._items = tuple(
            Item(id=f"leaves-{number:02d}", mos=100.0 - 25 * (number % _LEVELS), content=f"leaves-{number:02d}")
            for number in range(PICTURES)
        )

    @property
    def items(self) -> Sequence[Item]:
        """In order of their numbers; the level is the number modulo five."""
        return self._items

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the recipe's version, ids and scores."""
        document = ["leaves", VERSION, [(item.id, item.mos) for item in self._items]]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(384, 512, 3) uint8 RGB of one picture, painted now."""
        seed = seed_of("leaves", str(index)) % 2**32
        # What a picture depends on is said, so that a kept one is never taken for another.
        picture = _painted(seed, size=(HEIGHT, WIDTH), shapes=_SHAPES)
        level = index % _LEVELS
        if level == 0:
            return picture.copy()
        return _DISTORTIONS[index // _LEVELS % len(_DISTORTIONS)][level - 1].apply(picture, seed=seed)


@lru_cache(maxsize=PICTURES)
def _painted(seed: int, *, size: tuple[int, int] = (HEIGHT, WIDTH), shapes: int = _SHAPES) -> np.ndarray:
    """One undistorted picture: a ground, and shapes on it, the later ones in front."""
    height, width = size
    # RandomState and not Generator: NumPy promises that its streams never change.
    random = np.random.RandomState(seed)

    def drawn(low: int, high: int, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Uniform integers, both ends included."""
        return np.asarray(random.randint(low, high + 1, shape, dtype=np.int32))

    def colour() -> np.ndarray:
        grey = brightness + drawn(-contrast, contrast)
        mixed: np.ndarray = np.clip(grey + drawn(-chroma, chroma, (3,)), 0, 255)
        return mixed

    brightness, contrast, chroma = (int(drawn(*bounds)) for bounds in ((30, 225), (30, 100), (0, 40)))
    picture = np.empty((height, width, 3), np.int32)
    picture[:] = colour()
    rows, columns = np.ogrid[:height, :width]
    for _ in range(shapes):
        radius, top, left = _radius(int(drawn(1, 2**16 - 1))), int(drawn(0, height - 1)), int(drawn(0, width - 1))
        place = (slice(max(top - radius, 0), top + radius + 1), slice(max(left - radius, 0), left + radius + 1))
        down, across = rows[place[0]] - top, columns[:, place[1]] - left
        diamond = int(drawn(0, 3)) == 0
        inside = 2 * abs(down) + abs(across) <= radius if diamond else down**2 + across**2 <= radius**2
        slopes = drawn(-40, 40, (2,))
        values = ((slopes[0] * down + slopes[1] * across) // radius)[..., None] + colour()
        grain = int(drawn(0, 29))
        if grain > _LEAST_GRAIN:
            values = values + drawn(-grain, grain, (*inside.shape, 1))
        np.copyto(picture[place], values, where=inside[..., None], casting="same_kind")
    painted = np.clip(picture, 0, 255).astype(np.uint8)
    painted.setflags(write=False)
    return painted


def _radius(rank: int) -> int:
    """The radius at place `rank` of 2¹⁶ of its distribution, the largest first; roots are rounded alike everywhere."""
    return int(_SMALLEST / np.sqrt(rank / 2**16 + (_SMALLEST / _LARGEST) ** 2))
