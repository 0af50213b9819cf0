"""NES: gradients estimated from queries, by natural evolution strategies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Of the step after one that gained, and after one that did not.
_LONGER, _SHORTER = 1.5, 0.5
# Below this root mean square, in units of 1, a step is lost in the rounding to 8 bits.
_SHORTEST = 0.25 / 255
# After so many pairs for each cell of a size, smaller cells are left to ask about.
_PAIRS_A_CELL = 2
_PAPER_TILE, _PAPER_PAIRS, _PAPER_STEP, _PAPER_SIGMA = 32, 20, 0.1, 0.001


@dataclass(frozen=True, kw_only=True)
class NES(LinfAttack):
    """Gradient ascent without gradients: from pairs of queries at ±sigma along Gaussian noise, in an l∞ ball.

    Each iteration asks about `pairs` antithetic pairs, adds their estimate to `momentum` times the last ones, and takes
    a step of that direction with a root mean square of `step` × epsilon. A step that gains is kept and the next is half
    as long again; one that does not is taken back, and the next is half as long. The noise is a sum over square cells
    of 1, 2, 4 … pixels a side; a size is left out once there have been two pairs for each of its cells.

    Source: Ilyas et al., ICML 2018, Alg. 1, with their momentum and a step that shrinks where the score stands still;
    steps along the sign of the direction, never taken back, gain half as much on a metric that noise impairs. Cells are
    the tiling prior of Ilyas et al., ICLR 2019, without a size to choose: n pairs see √(n/d) of a slope in d
    dimensions, and 200 queries about single pixels of 192 × 256 move the planted metric by 2 % of what is possible, the
    sum over cells by 30 %. docs/attacks.md has what each size gains. Benchmark section 3.2: sigma .001, normalised
    steps of one length, no momentum, and noise of 32 × 32 pixels repeated over the image, so that only periodic
    perturbations are found; `paper=True` does that, asks in floating point, and returns the last image. Its probes may
    leave the ball by a few sigma; all of ours are inside.
    Queries are 8-bit images, as someone who attacks a service or a program sends them. Sigma is 2 levels of 255, far
    above the rounding, and gains as much as .001 does in floating point.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: `queries` forwards an image, the clean image included; no backward. Images that reach a target score stop.
    Raises: ConfigurationError for fewer than four queries or numbers that make no sense.
    """

    name: ClassVar[str] = "nes"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"

    queries: int = 10_000
    sigma: float = 2 / 255
    pairs: int = 20
    step: float = 0.5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        sound = self.sigma > 0 and self.step > 0 and 0 <= self.momentum < 1
        if self.queries < 4 or self.pairs < 1 or not sound:
            raise ConfigurationError(
                "nes needs queries >= 4, pairs >= 1, sigma > 0, step > 0 and 0 <= momentum < 1, got "
                f"{self.queries}, {self.pairs}, {self.sigma}, {self.step} and {self.momentum}"
            )
        super().__post_init__()

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Spend the queries; returns the accepted images, `paper=True` the last ones."""
        current, values = images.clone(), objective.query_clean()
        memory = torch.zeros_like(images)
        lengths = torch.full_like(values, self.step * self.epsilon)
        left = self.queries - 2 if self.paper else self.queries - 1
        after = 0 if self.paper else 1  # queries about the step that the pairs of an iteration lead to
        asked = 0
        while left >= 2 + after and len(rows := objective.unfinished()):
            pairs = self._pairs_of(left, after)
            around = current[rows]
            slopes = self._slopes(objective, around, rows, streams.select(rows), range(asked, asked + pairs))
            left, asked = left - 2 * pairs - after, asked + pairs
            if self.paper:
                moved = around + _PAPER_STEP * _tiled(slopes / _length(slopes), images)
                current[rows] = self.budget.project(moved, images[rows])
                continue
            memory[rows] = slopes.add_(memory[rows], alpha=self.momentum)
            unit = slopes / _length(slopes) * math.sqrt(slopes[0].numel())
            moved = around.add_(lengths[rows, None, None, None] * unit)
            answers = objective.values(moved, rows)
            gained = (answers > values[rows]).nonzero().flatten()
            better = rows[gained]
            current[better] = self.budget.project(moved[gained], images[better])
            values[better] = answers[gained]
            lengths[rows] *= _SHORTER
            lengths[better] *= _LONGER / _SHORTER
            lengths.clamp_(_SHORTEST, self.epsilon)
        return current

    def _pairs_of(self, left: int, after: int) -> int:
        """Pairs of the next iteration; the last one takes what would not pay for another."""
        pairs = _PAPER_PAIRS if self.paper else self.pairs
        return pairs if left - 2 * pairs - after >= 2 + after else (left - after) // 2

    def _slopes(self, objective: Objective, around: Tensor, rows: Tensor, streams: Streams, pairs: range) -> Tensor:
        """Sum over the pairs, by their numbers in the run, of noise × difference in value, of the noise's shape."""
        sigma = _PAPER_SIGMA if self.paper else self.sigma
        slopes = around.new_zeros(len(rows), 3, _PAPER_TILE, _PAPER_TILE) if self.paper else torch.zeros_like(around)
        together = max(objective.at_once // (2 * len(rows)), 1)
        for start in range(0, len(pairs), together):
            part = pairs[start : start + together]
            noises = [self._noise(streams, number, *around.shape[2:]) for number in part]
            probes = around.new_empty(len(noises), 2, *around.shape)
            for both, noise in zip(probes, noises, strict=True):
                whole = _tiled(noise, around) if self.paper else noise
                torch.add(around, whole, alpha=sigma, out=both[0])
                torch.add(around, whole, alpha=-sigma, out=both[1])
            answers = objective.values(probes.flatten(0, 2), rows.repeat(2 * len(noises)), rounded=not self.paper)
            for (up, down), noise in zip(answers.view(-1, 2, len(rows)), noises, strict=True):
                # Where the budget ends in the middle of a pair, one of its values is infinite.
                difference = torch.where(torch.isfinite(up) & torch.isfinite(down), up - down, 0)
                slopes.addcmul_(noise, difference[:, None, None, None])
        return slopes

    def _noise(self, streams: Streams, number: int, height: int, width: int) -> Tensor:
        """Noise of a pair, standard normal in every pixel; with `paper`, of a tile."""
        if self.paper:
            return streams.normal(3, _PAPER_TILE, _PAPER_TILE)
        sizes = _cells(number, height, width)
        noise = streams.normal(3, *sizes[-1])
        for down, across in reversed(sizes[:-1]):
            noise = F.interpolate(noise, scale_factor=2)[..., :down, :across]
            noise += streams.normal(3, down, across)
        return noise.div_(math.sqrt(len(sizes)))


def _cells(pairs: int, height: int, width: int) -> list[tuple[int, int]]:
    """How many cells there are down and across, pixels first, of all sizes that so many pairs have not told apart."""
    sizes = [(height, width)]
    while max(sizes[-1]) > 1:
        down, across = (-(-extent // 2) for extent in sizes[-1])
        if _PAIRS_A_CELL * 3 * down * across <= pairs:
            break
        sizes.append((down, across))
    return sizes


def _length(slopes: Tensor) -> Tensor:
    """Euclidean norm of each, (N, 1, 1, 1), never zero."""
    norms = slopes.flatten(1).square().sum(dim=1).sqrt().clamp_(min=torch.finfo(slopes.dtype).tiny)
    return norms[:, None, None, None]


def _tiled(noise: Tensor, images: Tensor) -> Tensor:
    """The noise repeated over the images' height and width from the top left on."""
    height, width = images.shape[2:]
    return noise.repeat(1, 1, -(-height // _PAPER_TILE), -(-width // _PAPER_TILE))[..., :height, :width]
