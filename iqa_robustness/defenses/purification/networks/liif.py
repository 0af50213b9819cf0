"""LIIF: an image as a function of continuous coordinates, read at any size."""

from __future__ import annotations

from itertools import pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from iqa_robustness.defenses.purification.networks.edsr import CHANNELS, EDSR

HIDDEN = 256
# Coordinates answered at once: their hidden layers, not the image, are what takes memory.
QUERIES = 32_768
# A query between two cells goes to the second; a query at the border stays inside.
SHIFT = 1e-6


class Perceptron(nn.Module):
    """Four hidden layers of 256 with ReLUs, 3 results. (..., F) to (..., 3)."""

    def __init__(self, incoming: int) -> None:
        super().__init__()
        widths = [incoming, *[HIDDEN] * 4]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, 3))

    def forward(self, features: Tensor) -> Tensor:
        """(Q, F) to (Q, 3)."""
        colours: Tensor = self.layers(features)
        return colours


class LIIF(nn.Module):
    """EDSR features, and a perceptron that turns those near a coordinate into its colour.

    A query sees the 3 × 3 features around each of the four cells about it, its offset from the cell, and the size of
    the pixel asked for; the four answers are averaged by the area opposite. At the image's own size queries are cells'
    centres, and one answer counts alone; in the last row and column, as published, a neighbour's counts as much.

    Source: Chen, Liu and Wang, CVPR 2021 (yinboc/liif): local ensemble, feature unfolding, cell decoding; as DISCO
    (Ho and Vasconcelos, NeurIPS 2022) uses it. 1.6 M weights.
    Cost: 1.4 M multiply-adds a pixel of the result, beside the encoder's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EDSR()
        self.imnet = Perceptron(9 * CHANNELS + 4)

    def read(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """The images that (N, 64, H, W) features describe, (N, 3, *size), in [−1, 1] and beyond.

        Images one after the other, in parts whose activations are computed again in the backward pass: the memory is
        that of `QUERIES` coordinates.
        """
        coordinates = _centres(size, features.device).view(-1, 2)
        cell = torch.tensor([2 / side * cells for side, cells in zip(size, features.shape[2:], strict=True)])
        images = []
        for one in features.split(1):
            parts = [self._part(one, queries, cell.to(one.device)) for queries in coordinates.split(QUERIES)]
            images.append(torch.cat(parts).T.view(3, *size))
        return torch.stack(images)

    def _part(self, features: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        if torch.is_grad_enabled() and features.requires_grad:
            recorded: Tensor = checkpoint(self.colours, features, coordinates, cell, use_reentrant=False)
            return recorded
        return self.colours(features, coordinates, cell)

    def colours(self, features: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        """Colours (Q, 3) at (Q, 2) coordinates (row, column) from −1 to 1.

        features: (1, 64, H, W).      cell: (2,), twice how many cells high and wide a pixel of the result is.
        """
        size = features.shape[2:]
        cells = torch.tensor(size, dtype=torch.float32, device=features.device)
        centres = _centres((size[0], size[1]), features.device).view(-1, 2)
        answers, areas = [], []
        for corner in product((-1, 1), repeat=2):
            offset = torch.tensor([side / length for side, length in zip(corner, size, strict=True)]) + SHIFT
            number = _cell_at((coordinates + offset.to(coordinates)).clamp(SHIFT - 1, 1 - SHIFT), (size[0], size[1]))
            distance = (coordinates - centres[number]) * cells
            seen = torch.cat([_around(features, number), distance, cell.expand(len(distance), 2)], dim=1)
            answers.append(self.imnet(seen))
            areas.append(distance.prod(dim=1).abs() + 1e-9)
        total = torch.stack(areas).sum(dim=0)
        # The nearer a cell, the larger the rectangle between the query and the opposite cell.
        weighted = [answer * (area / total)[:, None] for answer, area in zip(answers, reversed(areas), strict=True)]
        return torch.stack(weighted).sum(dim=0)


def _cell_at(places: Tensor, size: tuple[int, int]) -> Tensor:
    """(Q,): the number of the cell, row by row, that each of (Q, 2) places lies in, rounded as `grid_sample` does."""
    numbers = torch.arange(size[0] * size[1], dtype=torch.float32, device=places.device).view(1, 1, *size)
    found = F.grid_sample(numbers, places.flip(1)[None, None], mode="nearest", align_corners=False)
    return found.flatten().long()


def _around(features: Tensor, number: Tensor) -> Tensor:
    """(1, C, H, W) around (Q,) cells: (Q, 9C), the 3 × 3 values of a channel together, zeros beyond the border."""
    wide = features.shape[3] + 2
    corner = number // (wide - 2) * wide + number % (wide - 2)
    window = torch.tensor([row * wide + column for row in range(3) for column in range(3)], device=number.device)
    seen = F.pad(features, (1, 1, 1, 1))[0].flatten(1)[:, window[:, None] + corner]
    return seen.flatten(0, 1).T


def _centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """(H, W, 2): coordinates of the pixels' centres, each axis from −1 to 1."""
    rows, columns = (
        (1 / length - 1) + (2 / length) * torch.arange(length, dtype=torch.float32, device=device) for length in size
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
