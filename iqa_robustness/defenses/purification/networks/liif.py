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
    the pixel asked for; the four answers are averaged by the area opposite.

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

        features: (1, 64, H, W).      cell: (2,), how many cells high and wide a pixel of the result is, twice.
        """
        size = features.shape[2:]
        cells = torch.tensor(size, dtype=torch.float32, device=features.device)
        around = F.unfold(features, 3, padding=1).view(1, -1, *size)
        centres = _centres((size[0], size[1]), features.device).permute(2, 0, 1)[None]
        answers, areas = [], []
        for corner in product((-1, 1), repeat=2):
            offset = torch.tensor([side / length for side, length in zip(corner, size, strict=True)]) + SHIFT
            place = (coordinates + offset.to(coordinates)).clamp(SHIFT - 1, 1 - SHIFT)
            distance = (coordinates - _nearest(centres, place)) * cells
            seen = torch.cat([_nearest(around, place), distance, cell.expand(len(distance), 2)], dim=1)
            answers.append(self.imnet(seen))
            areas.append(distance.prod(dim=1).abs() + 1e-9)
        total = torch.stack(areas).sum(dim=0)
        # The nearer a cell, the larger the rectangle between the query and the opposite cell.
        weighted = [answer * (area / total)[:, None] for answer, area in zip(answers, reversed(areas), strict=True)]
        return torch.stack(weighted).sum(dim=0)


def _nearest(values: Tensor, places: Tensor) -> Tensor:
    """(1, C, H, W) at the cells that (Q, 2) places lie in: (Q, C)."""
    found = F.grid_sample(values, places.flip(1)[None, None], mode="nearest", align_corners=False)
    return found[0, :, 0].T


def _centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """(H, W, 2): coordinates of the pixels' centres, each axis from −1 to 1."""
    rows, columns = (
        (1 / length - 1) + (2 / length) * torch.arange(length, dtype=torch.float32, device=device) for length in size
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
