"""Patch-RS: random search over the place and the colours of one square patch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Pixels
from iqa_robustness.attacks.random_search import Windows, in_order, numbers_ahead, share_at, whole_below
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Share of the patch's area that the first recolourings cover, and of the image that the first moves reach.
_FIRST_AREA, _FIRST_REACH = 0.8, 0.75
_MOVE_EVERY = 4
_FIRST_SQUARES = 1000


@dataclass(frozen=True, kw_only=True)
class PatchRS(Attack):
    """A square patch of black, white and pure colours, placed and recoloured at random, score queries only.

    The first patch is made of small random squares. Every fourth query moves it, by less and less; the others set a
    square inside it to one colour, of an area that shrinks as in the square attack, and in the second half of the time
    in which that is a single pixel, turn over one channel of it. What is better is kept.

    Source: Croce et al., AAAI 2022, section 5 (Sparse-RS, image-specific patches); benchmark section 3.2. Their first
    places leave out the last row and column, their moves go as far across as down, and colours that are there already
    waste queries. The benchmark's code starts every image from seed 0. `paper=True` does all that, with one row of
    numbers for all images whatever the seed (not torch's, bit by bit), and returns the last patch, even if it harms.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size; a patch is never larger than the image.
    Budget: side² pixels, contiguous, of any colour. The strengths are the published areas 49, 169 and 625.
    Cost: `queries` forwards an image, the clean image included; no backward. Images that reach a target score stop.
    Raises: ConfigurationError for fewer than three queries or no side.
    """

    name: ClassVar[str] = "patch-rs"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"
    restriction: ClassVar[str] = "l0"
    varied_parameter: ClassVar[str] = "side"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"side": 7},
        "medium": {"side": 13},
        "strong": {"side": 25},
    }

    side: int = 13
    queries: int = 10_000

    def __post_init__(self) -> None:
        if self.queries < 3 or self.side < 1:
            raise ConfigurationError(f"patch-rs needs queries >= 3 and side >= 1, got {self.queries} and {self.side}")

    @property
    def budget(self) -> Pixels:
        """As many pixels as the patch has."""
        return Pixels(count=self.side**2)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Spend the queries; returns the images with their accepted patches."""
        if not len(images):
            return images
        if self.paper:
            streams = Streams("patch-rs", ["0"] * len(images), device=images.device)
        height, width = images.shape[2:]
        side = min(self.side, height, width)
        room = torch.tensor([height - side + 1, width - side + 1], device=images.device)
        if self.paper:
            room = (room - 1).clamp_(min=1)
        numbers, everyone = numbers_ahead(streams, 5), in_order(images)
        patches, places = _random_squares(streams, side), whole_below(next(numbers)[:, :2], room)
        current = images.clone()
        Windows(everyone, places, side).write(current, patches)
        values = objective.values(current)
        single_channels_from = self._single_channels_from(side)
        # The clean image is paid for, and `paper` has its last patch scored.
        for query in range(1, self.queries - 1 - self.paper):
            rows = objective.unfinished()
            if not len(rows):
                break
            drawn, tried, tried_at = next(numbers)[rows], patches[rows], places[rows]
            reach = self._reach(query, height, width)
            if query % _MOVE_EVERY == 0 and max(reach) > 0:
                furthest = torch.tensor(reach, device=images.device)
                tried_at = tried_at + whole_below(drawn[:, :2], 2 * furthest + 1) - furthest
                tried_at = torch.minimum(tried_at.clamp_(min=0), room - 1)
            else:
                inner = self._inner_side(query, side)
                self._repaint(tried, inner, drawn, single_channels=query >= single_channels_from)
            candidates = images.index_select(0, rows)
            Windows(in_order(rows), tried_at, side).write(candidates, tried)
            answers = objective.values(candidates, None if len(rows) == len(images) else rows)
            better = (answers > values[rows]).nonzero().flatten()
            chosen = rows[better]
            patches[chosen], places[chosen], values[chosen] = tried[better], tried_at[better], answers[better]
        current = images.clone()
        Windows(everyone, places, side).write(current, patches)
        return current

    def _inner_side(self, query: int, side: int) -> int:
        """Side of the square that a query recolours, in pixels."""
        return max(int(math.sqrt(_FIRST_AREA * share_at(query, self.queries)) * side), 1)

    def _single_channels_from(self, side: int) -> int:
        """The query from which on recolouring is down to one channel of a pixel."""
        smallest = next((query for query in range(self.queries) if self._inner_side(query, side) == 1), self.queries)
        return smallest + (self.queries - smallest) // 2

    def _reach(self, query: int, height: int, width: int) -> tuple[int, int]:
        """How far down and across a query may move the patch, in pixels."""
        share = _FIRST_REACH * (1 - query / self.queries)
        return int(share * height), int(share * (height if self.paper else width))

    def _repaint(self, patches: Tensor, side: int, drawn: Tensor, *, single_channels: bool) -> None:
        """Set a square of each patch to one colour, or turn one channel of it over, in place."""
        square = Windows(in_order(patches), whole_below(drawn[:, :2], patches.shape[-1] - side + 1), side)
        before = square.read(patches)
        if single_channels:
            turned = torch.arange(3, device=patches.device) == whole_below(drawn[:, 2:3], 3)
            after = torch.where(turned[:, :, None, None], 1 - before, before)
        else:
            after = (drawn[:, 2:] < 0.5).to(patches.dtype)[:, :, None, None].expand_as(before)
            if side == 1 or not self.paper:
                wasted = (after == before).flatten(1).all(dim=1)
                after = torch.where(wasted[:, None, None, None], 1 - after, after)
        square.write(patches, after)


def _random_squares(streams: Streams, side: int) -> Tensor:
    """Patches (N, 3, side, side) of small random squares in random colours, later ones over earlier ones."""
    largest = max(math.ceil(math.sqrt(side)) - 1, 1)
    drawn = streams.uniform(_FIRST_SQUARES, 6)
    sizes = whole_below(drawn[..., 0], largest) + 1
    places = whole_below(drawn[..., 1:3], (side + 1 - sizes)[..., None]).cpu().numpy()
    colours = (drawn[..., 3:] < 0.5).cpu().numpy()
    patches = np.zeros((len(streams), 3, side, side), dtype=np.float32)
    for number, patch in enumerate(patches):
        for size, (top, left), colour in zip(sizes[number].tolist(), places[number], colours[number], strict=True):
            patch[:, top : top + size, left : left + size] = colour[:, None, None]
    return torch.from_numpy(patches).to(streams.device)
