"""What random-search attacks share: numbers drawn ahead, and square windows at a place of each image's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from iqa_robustness.streams import Streams

# A draw costs a call for each image; for many steps at once it costs the same.
_STEPS_AHEAD = 64
# Queries, of 10,000, after which the changed area is halved (Andriushchenko et al., section 4.1).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SCHEDULE_LENGTH = 10_000


def share_at(query: int, queries: int) -> float:
    """What is left of the first area at a query: 1, then less and less, whatever the number of queries."""
    scaled = query / queries * _SCHEDULE_LENGTH
    return float(2.0 ** -sum(scaled > step for step in _HALVINGS))


def numbers_ahead(streams: Streams, count: int) -> Iterator[Tensor]:
    """Uniform numbers on [0, 1), (N, count) for each step, without end; an image's depend on its own stream only."""
    while True:
        yield from streams.uniform(_STEPS_AHEAD, count).unbind(dim=1)


def whole_below(uniform: Tensor, count: int | Tensor) -> Tensor:
    """Uniform numbers on [0, 1) to whole numbers 0 … count − 1, int64; one count for all, or one a column."""
    # Without the clamp a number just below 1 could be rounded up to `count`.
    return (uniform * count).to(torch.int64).clamp(max=torch.as_tensor(count, device=uniform.device) - 1)


@dataclass(frozen=True)
class Windows:
    """A square of pixels in some images of a batch, at a place of its own in each.

    rows: (M,) int64, distinct: the images, by their number in the batch.
    places: (M, 2) int64, first row and column of each square, which lies inside the image.
    side: of the squares, in pixels.
    """

    rows: Tensor
    places: Tensor
    side: int

    def read(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the squares, (M, C, side, side)."""
        found = images.flatten(2)[self._index(images)]
        return found.view(len(self.rows), images.shape[1], self.side, self.side)

    def write(self, images: Tensor, squares: Tensor) -> None:
        """Put squares (M, C, side, side) into contiguous images (N, C, H, W), in place."""
        images.view(*images.shape[:2], -1)[self._index(images)] = squares.flatten(2)

    def _index(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        width, span = images.shape[3], torch.arange(self.side, device=images.device)
        inside = (span[:, None] * width + span).flatten()
        pixels = (self.places[:, 0] * width + self.places[:, 1])[:, None, None] + inside
        return self.rows[:, None, None], torch.arange(images.shape[1], device=images.device)[:, None], pixels


def in_order(rows: Tensor) -> Tensor:
    """0 … M − 1: the same images in a batch that holds them alone."""
    return torch.arange(len(rows), device=rows.device)
