"""One pixel attack: a few pixels of any colour, found by differential evolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.differential_evolution import DifferentialEvolution, survivors
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Pixels
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Row, column, red, green and blue.
_GENES = 5
_PAPER_POPULATION, _PAPER_GENERATIONS = 300, 10


@dataclass(frozen=True, kw_only=True)
class OnePixel(Attack):
    """A few pixels of any place and colour, found by differential evolution, score queries only.

    An individual has five genes a pixel: row, column and colour. Every generation tries, for each individual, the best
    one plus a scaled difference of two others, of which whole pixels cross over into it.

    Source: Su et al., IEEE TEVC 2019; benchmark section 3.2: best/1/bin of scipy, 300 individuals (200 for 40 pixels),
    ten generations, all genes cross over. `paper=True` does that within `queries`, and returns the best individual,
    even if it does harm. Few individuals and many generations gain more, with corner colours at first, a tenth of the
    pixels that cross over, and new ones where a trial would repeat its parent: two to three times as much on `compact`
    within 200 queries, where the published search gains no more than pixels drawn at random.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `count` pixels, of any colour. The strengths are the published 10, 20 and 40.
    Cost: `queries` forwards an image, the clean image included; no backward. `paper=True` ends after 3,300 (2,200 for
    40 pixels). Images that reach a target score stop.
    Raises: ConfigurationError for fewer than three queries, no pixel, or an impossible population or crossover.

    crossover: chance that a pixel of a trial comes from the mutant; one always does.
    """

    name: ClassVar[str] = "onepixel"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "black-box"
    restriction: ClassVar[str] = "l0"
    varied_parameter: ClassVar[str] = "count"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"count": 10},
        "medium": {"count": 20},
        "strong": {"count": 40},
    }

    count: int = 20
    queries: int = 10_000
    population: int = 4
    crossover: float = 0.1

    def __post_init__(self) -> None:
        if self.queries < 3 or self.count < 1 or self.population < 3 or not 0 <= self.crossover <= 1:
            raise ConfigurationError(
                "onepixel needs queries >= 3, count >= 1, population >= 3 and 0 <= crossover <= 1, got "
                f"{self.queries}, {self.count}, {self.population} and {self.crossover}"
            )

    @property
    def budget(self) -> Pixels:
        """So many pixels."""
        return Pixels(count=self.count)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Evolve until the queries are spent; returns the images of the best individuals."""
        if not len(images):
            return images
        evolution, left = self._evolution(), self.queries - 1
        if self.paper:  # its last image may be scored once more
            left = min(left - 1, evolution.population * (1 + _PAPER_GENERATIONS))
        genes = evolution.first(streams, _GENES * self.count)
        colours = torch.arange(genes.shape[2], device=genes.device) % _GENES >= 2
        if not self.paper:
            genes = torch.where(colours, genes.round(), genes)
        values = self._values(objective, images, torch.arange(len(images), device=genes.device), genes, left)
        left -= min(left, evolution.population)
        while left and len(rows := objective.unfinished()):
            parents, known = genes[rows], values[rows]
            trials = evolution.trials(parents, known, streams.select(rows), clamped=None if self.paper else colours)
            answers = self._values(objective, images, rows, trials, left)
            genes[rows], values[rows] = survivors(parents, known, trials, answers)
            left -= min(left, evolution.population)
        best = genes.gather(1, values.argmax(dim=1)[:, None, None].expand(-1, 1, genes.shape[2]))
        return _painted(images, best[:, 0])

    def _evolution(self) -> DifferentialEvolution:
        if self.paper:
            genes = _GENES * self.count
            return DifferentialEvolution(population=max(_PAPER_POPULATION // genes, 1) * genes)
        return DifferentialEvolution(population=self.population, crossover=self.crossover, group=_GENES)

    def _values(self, objective: Objective, images: Tensor, rows: Tensor, genes: Tensor, left: int) -> Tensor:
        """Values (M, population) of the images that the genes make of `rows`; −inf for what no query is left for."""
        values = torch.full(genes.shape[:2], -torch.inf, device=genes.device)
        asked = min(left, genes.shape[1])
        owners, individuals = rows.repeat_interleave(asked), genes[:, :asked].flatten(0, 1)
        answers = [
            objective.values(_painted(images.index_select(0, part), chosen), part)
            for part, chosen in zip(owners.split(objective.at_once), individuals.split(objective.at_once), strict=True)
        ]
        values[:, :asked] = torch.cat(answers).view(-1, asked)
        return values


def _painted(images: Tensor, genes: Tensor) -> Tensor:
    """A copy of the images (M, 3, H, W) with the pixels of the genes (M, 5 × count), later ones over earlier ones."""
    height, width = images.shape[2:]
    genes = genes.view(len(images), -1, _GENES)
    rows = (genes[..., 0] * height).to(torch.int64).clamp_(max=height - 1)
    columns = (genes[..., 1] * width).to(torch.int64).clamp_(max=width - 1)
    colours = (genes[..., 2:] * 256).floor().clamp_(max=255) / 255
    places = rows * width + columns
    # Which of several writes to one place comes last is not defined on a GPU, so that all of them write the same.
    same = places[:, :, None] == places[:, None, :]
    last = torch.where(same, torch.arange(places.shape[1], device=places.device), -1).amax(dim=2)
    colours = colours.gather(1, last[..., None].expand(-1, -1, 3))
    return images.flatten(2).scatter(2, places[:, None, :].expand(-1, 3, -1), colours.transpose(1, 2)).view_as(images)
