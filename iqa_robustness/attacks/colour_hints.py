"""`colour-hints`: sparse changes of colour, spread to what lies near and looks alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.lab import from_lab, to_lab
from iqa_robustness.attacks.transformation import Render, Transformation
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class ColourHints(Transformation):
    """Some pixels get another a* and b*; all others follow those that are near and of like colour. L* stays.

    A pixel's change is the mean of the hints' changes, weighted by Gaussians of the distance in the image and of the
    distance in CIELAB (a joint bilateral filter). The hints lie at random, one in each cell of a grid.

    Source: none; this is what remains of cAdv (Bhattad et al., ICLR 2020) without its colourisation network, whose
    place a filter takes. It is not cAdv, and numbers of one say nothing of the other: see `cadv`.
    Images: (N, 3, H, W) float32 RGB in [0, 1], H and W at least 7.
    Budget: SSIM of at least `least_ssim` to the clean image, after 8-bit rounding.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result. Memory:
    4 × `hints` bytes for each pixel of the batch.
    `paper=True` returns the last iterate; there is nothing else that was published.
    Raises: ConfigurationError for fewer than one step or hint, or a number that is not positive.

    Args:
        rate: Adam's, in units of a* and b*.
        hints: about how many pixels lead.
        reach: standard deviation of the distance, in units of the image's diagonal.
        likeness: standard deviation of the difference in colour, in units of CIELAB.
    """

    name: ClassVar[str] = "colour-hints"

    rate: float = 20.0
    hints: int = 64
    reach: float = 0.1
    likeness: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hints < 1 or not (self.reach > 0 and self.likeness > 0):
            raise ConfigurationError(
                "colour-hints needs hints >= 1 and positive reach and likeness, "
                f"got {self.hints}, {self.reach} and {self.likeness}"
            )

    @property
    def as_published(self) -> bool:
        """Never: nothing was."""
        return False

    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        """No change at hints drawn from the streams."""
        places = scattered(streams, self.hints, images.shape[2], images.shape[3])
        renders = []
        for row in range(len(images)):
            lab = to_lab(images[row : row + 1])
            shares = influence(lab[0], places[row], reach=self.reach, likeness=self.likeness)
            renders.append(partial(_recoloured, lab, shares))
        return images.new_zeros(len(images), places.shape[1], 2), renders


def scattered(streams: Streams, count: int, height: int, width: int) -> Tensor:
    """About `count` pixels an image, one drawn from each cell of a grid; (N, K) int64 places in row-major order."""
    down = min(max(round(math.sqrt(count * height / width)), 1), height)
    across = min(max(round(count / down), 1), width)
    drawn = streams.uniform(down, across, 2)
    row = _within_cells(drawn[..., 0], height, down, axis=1)
    column = _within_cells(drawn[..., 1], width, across, axis=2)
    return (row * width + column).flatten(1)


def _within_cells(drawn: Tensor, length: int, cells: int, *, axis: int) -> Tensor:
    """Numbers in [0, 1) to pixels of the cells that cut `length` pixels along an axis of the draws."""
    edges = torch.arange(cells + 1, device=drawn.device) * length // cells
    shape = [-1 if place == axis else 1 for place in range(drawn.dim())]
    starts, sizes = edges[:-1].view(shape), edges.diff().view(shape)
    return starts + (drawn * sizes).long()


def influence(lab: Tensor, places: Tensor, *, reach: float, likeness: float) -> Tensor:
    """How much each hint decides on each pixel; (3, H, W) and (K,) to (K, H · W), a pixel's sum is 1."""
    height, width = lab.shape[1:]
    colours = lab.flatten(1)
    pixels = torch.arange(height * width, device=lab.device)
    down = (pixels[None] // width - places[:, None] // width).to(lab.dtype)
    across = (pixels[None] % width - places[:, None] % width).to(lab.dtype)
    far = (down.square() + across.square()) / (height * height + width * width)
    exponents = -far / (2 * reach**2)
    for values in colours:  # one after the other: K · H · W numbers are many
        exponents -= (values[None] - values[places, None]).square() / (2 * likeness**2)
    return exponents.softmax(dim=0)


def _recoloured(lab: Tensor, shares: Tensor, changes: Tensor) -> Tensor:
    """(1, 3, H, W), (K, H · W) and (K, 2) to an image (1, 3, H, W)."""
    shift = (changes.T @ shares).view(1, 2, *lab.shape[2:])
    return from_lab(torch.cat([lab[:, :1], lab[:, 1:] + shift], dim=1))
