"""The contract of a data set: samples with a score and a content, and a digest that names them all."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.errors import DatasetError, Where
from iqa_robustness.images import fit_pixels, from_uint8

# Every stage of a cell reads the same images again; this many bytes of them stay decoded.
_KEPT_BYTES = 32 * 2**20

MosKind = Literal["human", "pseudo", "none"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A sample without its pixels.

    id: unique in the data set; names files, streams and rows.
    mos: mean opinion score, higher is better, on the data set's own scale; NaN in data sets without scores.
    content: the source scene; images of one content are not independent (the bootstrap's cluster).
    """

    id: str
    mos: float
    content: str


@dataclass(frozen=True, kw_only=True)
class Sample(Item):
    """A sample: `image` is (3, H, W) float32 RGB on the grid k/255."""

    image: Tensor


class Dataset(ABC):
    """Images with scores. `len(data)`, `data[i] -> Sample`, `data.items` (no pixels read), `data.digest`.

    name: as given to `datasets.load`.
    mos_kind: `human`, `pseudo` when scores come from a formula, `none` without scores; a pseudo MOS is labelled
        wherever it is shown.
    has_references: the undistorted picture of every sample is known; full-reference metrics compare with it.
    threaded: another thread may read pixels; views then read ahead.
    ranks: of each sample, in data sets that say themselves which samples a smaller choice consists of.
    """

    name: str
    mos_kind: MosKind
    has_references: bool = False
    threaded: bool = False
    ranks: Sequence[int] | None = None

    @property
    @abstractmethod
    def items(self) -> Sequence[Item]:
        """Every sample's id, score and content, in a fixed order."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) over ids, scores, contents and the bytes the pixels come from."""

    @property
    def origin(self) -> str:
        """What two data sets have in common whose contents of one name are one scene; the digest where unknown."""
        return self.digest

    @abstractmethod
    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of one sample. Raises ImageReadError."""

    def reference_pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a sample's undistorted picture; the sample's own without `has_references`."""
        return self.pixels(index)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        """One sample, read now."""
        item = self.items[index]
        return Sample(id=item.id, mos=item.mos, content=item.content, image=from_uint8(self.pixels(index)))

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order, one in memory at a time."""
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, kw_only=True)
class View(Dataset):
    """Some samples of a data set, at one size.

    base: where they come from.
    chosen: indices into it.
    size: (height, width) in pixels; every image is scaled to cover it and its centre is cut out.
    """

    base: Dataset
    chosen: tuple[int, ...]
    size: tuple[int, int]

    @property
    def name(self) -> str:  # type: ignore[override]
        """The base's name."""
        return self.base.name

    @property
    def mos_kind(self) -> MosKind:  # type: ignore[override]
        """The base's kind of score."""
        return self.base.mos_kind

    @property
    def has_references(self) -> bool:  # type: ignore[override]
        """Whether the base has references."""
        return self.base.has_references

    @cached_property
    def items(self) -> Sequence[Item]:
        """The chosen samples."""
        return [self.base.items[index] for index in self.chosen]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the base's digest, the choice and the size."""
        document = json.dumps([self.base.digest, [item.id for item in self.items], self.size])
        return hashlib.sha256(document.encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB, not to be written to; the last ones read are kept, up to `_KEPT_BYTES`."""
        ahead = self._ahead.pop(index, None)
        if ahead is not None:
            wait([ahead])
        # What could not be read ahead is not kept either, and raises here.
        return self._kept_pixels(index)

    @cached_property
    def _kept(self) -> int:
        return max(1, _KEPT_BYTES // (self.size[0] * self.size[1] * 3))

    @cached_property
    def _kept_pixels(self) -> Callable[[int], np.ndarray]:
        return lru_cache(maxsize=self._kept)(self._fitted)

    @cached_property
    def _ahead(self) -> dict[int, Future[np.ndarray]]:
        return {}

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading-ahead")

    def reference_pixels(self, index: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB: the reference, scaled and cut as its sample is.

        Raises:
            DatasetError: it has another size than its sample, so that their pixels do not correspond.
        """
        chosen = self.chosen[index]
        reference, own = self.base.reference_pixels(chosen), self.base.pixels(chosen)
        if reference.shape != own.shape:
            sizes = [f"{pixels.shape[0]} x {pixels.shape[1]}" for pixels in (own, reference)]
            raise DatasetError(
                f"the image has {sizes[0]} pixels, its reference {sizes[1]}",
                where=Where(dataset=self.name, image=self.items[index].id),
                fix="give the reference of the same size",
            )
        return fit_pixels(reference, *self.size)

    def references(self, rows: range) -> Tensor:
        """(len(rows), 3, height, width) float32 on the grid k/255: what full-reference metrics compare with."""
        if not self.has_references:
            return self.batch(rows)
        return torch.stack([from_uint8(self.reference_pixels(row)) for row in rows])

    def _fitted(self, index: int) -> np.ndarray:
        pixels = fit_pixels(self.base.pixels(self.chosen[index]), *self.size)
        pixels.setflags(write=False)
        return pixels

    def batch(self, rows: Sequence[int]) -> Tensor:
        """(len(rows), 3, height, width) float32 on the grid k/255, read now, and as many following ones meanwhile."""
        read = [self.pixels(row) for row in rows]
        # Half of what is kept: reading ahead must not push out what it has read.
        if self.base.threaded and 0 < len(rows) <= self._kept // 2:
            self._read_ahead(range(rows[-1] + 1, min(rows[-1] + 1 + len(rows), len(self))))
        return torch.stack([from_uint8(pixels) for pixels in read])

    def _read_ahead(self, rows: range) -> None:
        # What nobody came for would stay in memory.
        for row in [row for row in self._ahead if row not in rows]:
            self._ahead.pop(row).cancel()
        for row in rows:
            if row not in self._ahead:
                self._ahead[row] = self._reader.submit(self._kept_pixels, row)


def nested_choice(items: Sequence[Item], count: int | None = None) -> tuple[int, ...]:
    """Indices of `count` samples that spread over contents and scores; a smaller choice is part of a larger one.

    Contents take turns. On its n-th turn, content number c gives the sample at place (n + c) of its own samples,
    counted round, in order of score: the first turn already meets every quality level.

    Args:
        items: the data set's items.
        count: how many; all when None or larger than the data set.

    Returns:
        Indices in the data set's order.
    """
    wanted = len(items) if count is None else min(count, len(items))
    by_content: dict[str, list[int]] = defaultdict(list)
    # NaN would leave the order to chance.
    for index in sorted(range(len(items)), key=lambda i: (np.nan_to_num(items[i].mos), items[i].id)):
        by_content[items[index].content].append(index)
    # A digest, not the alphabet, orders the contents: names often group what is alike.
    contents = sorted(by_content, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen: list[int] = []
    turn = 0
    while len(chosen) < wanted:
        for number, content in enumerate(contents):
            own = by_content[content]
            if turn < len(own):
                chosen.append(own[(turn + number) % len(own)])
        turn += 1
    return tuple(sorted(chosen[:wanted]))


def view(data: Dataset, *, count: int | None = None, size: tuple[int, int]) -> View:
    """`count` samples (all when None) at `size` = (height, width): of lowest rank where the data set has ranks."""
    if data.ranks is None:
        return View(base=data, chosen=nested_choice(data.items, count), size=size)
    ranked = sorted(range(len(data)), key=data.ranks.__getitem__)
    return View(base=data, chosen=tuple(sorted(ranked[:count])), size=size)
