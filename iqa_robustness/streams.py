"""Per-image random streams: an image's noise depends on its key and id, never on its batch, order or worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from iqa_robustness.errors import ConfigurationError


def seed_of(*parts: str) -> int:
    """A 63-bit seed from the SHA-256 of the parts; unlike `hash`, the same on every machine and run."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Streams:
    """One independent random generator for each image of a batch.

    Every draw returns a tensor whose first axis runs over the images; row i uses only image i's generator.
    Generators live on `device`, so draws on a GPU differ from those on a CPU (the device type is part of a cell's key).

    Args:
        key: what the numbers may depend on, usually a store key.
        ids: one id an image.
        device: where the draws are made.

    >>> both = Streams("key", ["a", "b"]).normal(3)
    >>> bool((both[1] == Streams("key", ["b"]).normal(3)[0]).all())
    True
    """

    def __init__(self, key: str, ids: Sequence[str], *, device: torch.device | str = "cpu") -> None:
        self.key = key
        self.ids = tuple(ids)
        self.device = torch.device(device)
        self._generators = [Generator(self.device).manual_seed(seed_of(key, name)) for name in self.ids]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.ids)

    def fork(self, purpose: str) -> Streams:
        """New streams for the same images, independent of these and of what was drawn from them."""
        return Streams(f"{self.key}/{purpose}", self.ids, device=self.device)

    def select(self, rows: Sequence[int] | Tensor) -> Streams:
        """The streams of some images; they go on where these stand, and drawing from one advances the other."""
        chosen = [int(row) for row in rows]
        part = object.__new__(Streams)
        part.key, part.device = self.key, self.device
        part.ids = tuple(self.ids[row] for row in chosen)
        part._generators = [self._generators[row] for row in chosen]
        return part

    def padded(self, size: int) -> Streams:
        """These streams and, up to `size` rows, fresh ones for the zero images that fill a micro-batch."""
        filled = self.select(range(len(self)))
        missing = Streams("padding", [f"padding-{i}" for i in range(len(self), size)], device=self.device)
        filled.ids += missing.ids
        filled._generators = [*filled._generators, *missing._generators]
        return filled

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (N, *shape) float32."""
        return self._rows(shape, torch.float32, lambda out, generator: out.normal_(generator=generator))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), (N, *shape) float32."""
        return self._rows(shape, torch.float32, lambda out, generator: out.uniform_(generator=generator))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform on 0 … high − 1, (N, *shape) int64."""
        return self._rows(shape, torch.int64, lambda out, generator: out.random_(0, high, generator=generator))

    def signs(self, *shape: int) -> Tensor:
        """−1 or +1 with equal chance, (N, *shape) float32."""
        return self.integers(2, *shape).to(torch.float32).mul_(2).sub_(1)

    def _rows(self, shape: tuple[int, ...], dtype: torch.dtype, fill: Callable[[Tensor, Generator], object]) -> Tensor:
        out = torch.empty((len(self), *shape), dtype=dtype, device=self.device)
        for row, generator in zip(out, self._generators, strict=True):
            fill(row, generator)
        return out


def required(streams: Streams | None, what: str) -> Streams:
    """The streams. Raises ConfigurationError, naming what draws from them, when there are none."""
    if streams is None:
        raise ConfigurationError(
            f"{what} draws random numbers and needs `streams`", fix="pass iqa_robustness.streams.Streams(key, ids)"
        )
    return streams
