"""The pictures that checks look at: photographs of the bundled data set, the extremes, and its quality levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.datasets.base import view

SMALL, LARGE = (64, 64), (192, 256)
# Scenes whose worst level differs in kind: blur, coding, contrast with coding, blur with coding.
CONTENTS = ("astronaut", "chelsea", "coffee", "hopper")
_BEST, _GOOD, _WORST = 0, 1, 4


def photographs(count: int, height: int = 48, width: int = 64) -> Tensor:
    """At most ten undistorted photographs, (count, 3, height, width) on the grid k/255."""
    contents = [item.content for item in datasets.load("mini").items if item.id.endswith(f"-{_BEST}")]
    return _levels(contents[:count], _BEST, height, width)


def extremes(height: int = 48, width: int = 64) -> Tensor:
    """Black, white, grey, 8-bit noise, and noise of black and white alone, (5, 3, height, width)."""
    random = np.random.RandomState(0)
    shape = (1, 3, height, width)
    levels = [np.full(shape, 0), np.full(shape, 255), np.full(shape, 128)]
    levels += [random.randint(0, 256, shape), random.randint(0, 2, shape) * 255]
    return torch.from_numpy(np.concatenate(levels).astype(np.float32)).div(255)


def graded(height: int, width: int) -> tuple[Tensor, Tensor]:
    """`CONTENTS` as they are and in their worst quality level, (4, 3, height, width) each."""
    return _levels(CONTENTS, _BEST, height, width), _levels(CONTENTS, _WORST, height, width)


def graded_with_references(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """`CONTENTS` in their mildest and their worst quality level, and as they are, (4, 3, height, width) each."""
    good, worst, best = (_levels(CONTENTS, level, height, width) for level in (_GOOD, _WORST, _BEST))
    return good, worst, best


def _levels(contents: Sequence[str], level: int, height: int, width: int) -> Tensor:
    return torch.cat([_cut(f"{content}-{level}", height, width) for content in contents])


# Decoding and scaling take longer than most checks; what is kept is never handed out itself.
@lru_cache(maxsize=128)
def _cut(name: str, height: int, width: int) -> Tensor:
    mini = datasets.load("mini")
    row = [item.id for item in mini.items].index(name)
    return view(mini, size=(height, width)).batch(range(row, row + 1))
