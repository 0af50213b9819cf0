"""Where a stage takes its images from: the data set, an attack's result, or the placebo of one."""

from __future__ import annotations

import io
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.attacks.projections import Linf
from iqa_robustness.datasets.base import View
from iqa_robustness.encoders import Encoder
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import encode_png, from_uint8, read_pixels, to_uint8
from iqa_robustness.store import Entry, document_of
from iqa_robustness.streams import Streams

# Stages score the same images several times; this many bytes of them stay decoded.
_KEPT_BYTES = 32 * 2**20


class Source(ABC):
    """Images in a fixed order, read in slices. `document` identifies them in a key."""

    ids: Sequence[str]
    document: dict[str, Any]

    @abstractmethod
    def batch(self, rows: range) -> Tensor:
        """(len(rows), 3, H, W) float32 on the grid k/255."""

    def __len__(self) -> int:
        """The number of images."""
        return len(self.ids)


class Clean(Source):
    """The data set's own images."""

    def __init__(self, view: View) -> None:
        if not len(view):
            raise ConfigurationError(
                f"no images of data set {view.name!r} are chosen", fix="give --iqa-images at least 1"
            )
        self.view = view
        self.ids = [item.id for item in view.items]
        self.document = {"clean": view.digest}

    def batch(self, rows: range) -> Tensor:
        """Read from the data set."""
        return self.view.batch(rows)

    def references(self, rows: range) -> Tensor:
        """What full-reference metrics compare these rows with; the images themselves where the data set has none."""
        return self.view.references(rows)


class Stored(Source):
    """Images of a store entry: a tar of PNG files named by their place.

    The file is verified when it is first needed; memory holds the last images decoded, up to `_KEPT_BYTES`.
    """

    def __init__(self, entry: Entry, ids: Sequence[str]) -> None:
        self.entry = entry
        self.ids = ids
        self.document = {"entry": entry.digest}

    def batch(self, rows: range) -> Tensor:
        """Decoded from the entry. Raises CorruptEntryError."""
        return torch.stack([from_uint8(self._pixels(row)) for row in rows])

    @cached_property
    def _pixels(self) -> Callable[[int], np.ndarray]:
        return _Decoded(ImageTarReader(self._file.enter_context(self.entry.open("images.tar"))))

    @cached_property
    def _file(self) -> ExitStack:
        stack = ExitStack()
        # Sources live as long as somebody scores them; their file is closed with them.
        finalize(self, stack.close)
        return stack


class Picked(Source):
    """Single images of other sources put together.

    sources: where they come from.
    places: (source, row) of each image.
    ids: of the images, in order.
    """

    def __init__(self, sources: Sequence[Source], places: Sequence[tuple[int, int]], ids: Sequence[str]) -> None:
        self.sources = sources
        self.places = places
        self.ids = ids
        used = sorted({number for number, _ in places})
        self.document = {
            "picked": [sources[number].document for number in used],
            "places": [[used.index(number), row] for number, row in places],
        }

    def batch(self, rows: range) -> Tensor:
        """Each image from its source."""
        found = [self.places[row] for row in rows]
        return torch.cat([self.sources[number].batch(range(row, row + 1)) for number, row in found])


class Placebo(Source):
    """The clean images under random signs of the attack's l∞, rounded alike: what noise of that size does.

    linf: (N,) size for each image, in units of 1.
    """

    def __init__(self, clean: Clean, linf: np.ndarray, *, seed: int) -> None:
        self.clean = clean
        self.ids = clean.ids
        self.levels = [round(float(size) * 255) for size in linf]
        self.document = {"placebo": clean.document, "levels": self.levels, "seed": seed}

    def batch(self, rows: range) -> Tensor:
        """Clean images plus signs; the signs depend on the image and the seed, not on the size."""
        images = self.clean.batch(rows)
        streams = Streams(f"placebo/{self.document['seed']}", [self.ids[row] for row in rows])
        signs = streams.signs(*images.shape[1:])
        sizes = torch.tensor([self.levels[row] / 255 for row in rows])[:, None, None, None]
        moved = images + signs * sizes
        return torch.cat(
            [
                Linf(epsilon=self.levels[row] / 255).admit(moved[place : place + 1], images[place : place + 1])
                for place, row in enumerate(rows)
            ]
        )


class Encoded(Source):
    """The images of another source after an encoder."""

    def __init__(self, source: Source, encoder: Encoder) -> None:
        self.source = source
        self.encoder = encoder
        self.ids = source.ids
        self.document = {"encoded": source.document, "encoder": document_of(encoder)}

    def batch(self, rows: range) -> Tensor:
        """Encoded and decoded anew."""
        return self.encoder.encode(self.source.batch(rows))


class ImageTar:
    """Writes images as PNG files into an uncompressed tar, one at a time; equal images give equal bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by `close`
        self._count = 0

    def add(self, images: Tensor) -> None:
        """Append (N, 3, H, W) images on the grid k/255."""
        for pixels in to_uint8(images):
            data = encode_png(pixels)
            info = tarfile.TarInfo(f"{self._count:06d}.png")
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            self._count += 1

    def close(self) -> Path:
        """Finish the file and return its path."""
        self._tar.close()
        return self.path


class ImageTarReader:
    """Single images of an `ImageTar`, decoded when they are asked for.

    Args:
        file: open for reading, until the last image was read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        with tarfile.open(fileobj=file) as tar:
            self._places = [(member.offset_data, member.size, member.name) for member in tar if member.isfile()]

    def __len__(self) -> int:
        """The number of images."""
        return len(self._places)

    def pixels(self, row: int) -> np.ndarray:
        """(H, W, 3) uint8 of one image. Raises ImageReadError."""
        return read_pixels(self.data(row), name=self._places[row][2])

    def data(self, row: int) -> bytes:
        """The PNG file of one image."""
        offset, size, _ = self._places[row]
        self._file.seek(offset)
        return self._file.read(size)


class _Decoded:
    """The last images decoded, in memory that is taken once: blocks that come and go break up the heap."""

    def __init__(self, reader: ImageTarReader) -> None:
        self._read = reader.pixels
        first = self._read(0)
        self._kept = np.empty((max(1, min(_KEPT_BYTES // first.nbytes, len(reader))), *first.shape), np.uint8)
        self._places: dict[int, int] = {}

    def __call__(self, row: int) -> np.ndarray:
        """(H, W, 3) uint8, valid until the next call."""
        if row in self._places:
            # The oldest goes first, and this one is not old any more.
            self._places[row] = self._places.pop(row)
        else:
            pixels = self._read(row)
            full = len(self._places) == len(self._kept)
            place = self._places.pop(next(iter(self._places))) if full else len(self._places)
            self._kept[place] = pixels
            self._places[row] = place
        decoded: np.ndarray = self._kept[self._places[row]]
        return decoded


def stored_pixels(entry: Entry) -> list[np.ndarray]:
    """The images of an adversarial stage in order, (H, W, 3) uint8 each. Raises CorruptEntryError."""
    return read_image_tar(entry.read("images.tar"))


def stored_image(entry: Entry, row: int) -> np.ndarray:
    """One image of an adversarial stage, (H, W, 3) uint8. Raises CorruptEntryError."""
    with tarfile.open(fileobj=io.BytesIO(entry.read("images.tar"))) as tar:
        member = tar.getmembers()[row]
        file = tar.extractfile(member)
        return read_pixels(file.read() if file is not None else b"", name=member.name)


def read_image_tar(data: bytes) -> list[np.ndarray]:
    """All images of an `ImageTar` in order, (H, W, 3) uint8 each."""
    reader = ImageTarReader(io.BytesIO(data))
    return [reader.pixels(row) for row in range(len(reader))]
