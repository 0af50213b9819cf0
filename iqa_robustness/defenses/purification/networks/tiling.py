"""Large images in overlapping tiles: the memory of one tile, the values of the whole image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Where a tile lies: what is read, and what of the result is kept (both as first and last pixel).
Span = tuple[tuple[int, int], tuple[int, int]]


def tiled(
    function: Callable[[Tensor], Tensor], images: Tensor, *, tile: int, halo: int, multiple: int = 1, scale: int = 1
) -> Tensor:
    """`function(images)`, computed tile by tile.

    Every tile is read with `halo` pixels around it, as far as the image goes. If no output pixel depends on input
    farther away than that, the result equals the whole image's to rounding; a function with global statistics (a
    pooling, an instance normalisation) takes them of the tile.
    Where a graph is recorded, a tile's activations are dropped and computed again in the backward pass: memory stays
    that of one tile, at the cost of one more forward.

    Args:
        function: (N, C, h, w) to (N, D, scale · h, scale · w), for any h and w.
        images: (N, C, H, W).
        tile: side of a tile in pixels of `images`, rounded up to `multiple`; 0 is the whole image at once.
        halo: pixels around a tile, rounded up to `multiple`.
        multiple: the function's stride: tiles begin at multiples of it.
        scale: how much larger the function's result is.
    """
    rows, columns = (_spans(length, tile, halo, multiple) for length in images.shape[2:])
    if len(rows) == len(columns) == 1:
        return function(images)
    return torch.cat(
        [torch.cat([_piece(function, images, row, column, scale) for column in columns], dim=3) for row in rows], dim=2
    )


def _piece(function: Callable[[Tensor], Tensor], images: Tensor, row: Span, column: Span, scale: int) -> Tensor:
    ((top, bottom), (first_row, last_row)), ((left, right), (first_column, last_column)) = row, column
    part = images[:, :, top:bottom, left:right]
    recorded = torch.is_grad_enabled() and part.requires_grad
    result: Tensor = checkpoint(function, part, use_reentrant=False) if recorded else function(part)
    return result[:, :, scale * first_row : scale * last_row, scale * first_column : scale * last_column]


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[Span]:
    step = -(-tile // multiple) * multiple or length
    margin = -(-halo // multiple) * multiple
    spans = []
    for start in range(0, length, step):
        stop = min(start + step, length)
        first = max(start - margin, 0)
        spans.append(((first, min(stop + margin, length)), (start - first, stop - first)))
    return spans
