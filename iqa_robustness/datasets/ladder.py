"""The `ladder` data set: photographs in five contrasts, whose score is the contrast itself.

It exists for the harness' controls: a metric that measures contrast ranks it perfectly and is robust by construction,
so a gate that is worth anything must let it pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.datasets.mini import Mini

# Share of the contrast that is kept, in 1/8: level 0 is the photograph.
_KEPT_EIGHTHS = (8, 6, 4, 3, 2)
_GREY = 128


class Ladder(Dataset):
    """The references of `mini` with contrast reduced around middle grey, in integers alone."""

    name = "ladder"
    mos_kind: MosKind = "pseudo"
    has_references = True
    VERSION = 1

    def __init__(self) -> None:
        self._mini = Mini()
        self._references = [index for index, item in enumerate(self._mini.items) if item.id.endswith("-0")]

    @cached_property
    def items(self) -> Sequence[Item]:
        """Five contrasts of every photograph; the score is the RMS contrast of luma, in per cent of half the scale."""
        return [
            Item(
                id=f"{self._mini.items[reference].content}-{level}",
                mos=_contrast(self._reduced(reference, level)),
                content=self._mini.items[reference].content,
            )
            for reference in self._references
            for level in range(len(_KEPT_EIGHTHS))
        ]

    @cached_property
    def digest(self) -> str:
        """Of `mini` and the recipe."""
        return hashlib.sha256(f"ladder {self.VERSION} {_KEPT_EIGHTHS} {self._mini.digest}".encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(384, 512, 3) uint8."""
        reference, level = divmod(index, len(_KEPT_EIGHTHS))
        return self._reduced(self._references[reference], level)

    def reference_pixels(self, index: int) -> np.ndarray:
        """(384, 512, 3) uint8 of the photograph at its full contrast."""
        return self._mini.pixels(self._references[index // len(_KEPT_EIGHTHS)])

    def _reduced(self, reference: int, level: int) -> np.ndarray:
        centred = self._mini.pixels(reference).astype(np.int64) - _GREY
        # Adding half of the divisor rounds; the shift floors also below zero.
        reduced = ((centred * _KEPT_EIGHTHS[level] + 4) >> 3) + _GREY
        return reduced.clip(0, 255).astype(np.uint8)


def _contrast(pixels: np.ndarray) -> float:
    luma = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
    return round(200 * float(luma.std()), 2)
