"""Rotate: turns the image by an angle that nobody could foresee."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import within_range
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams, required


@dataclass(frozen=True, kw_only=True)
class Rotate(Purification):
    """Turn about the centre by a uniformly random angle; the frame stays, what leaves it is lost.

    Bilinear; where the frame has become empty, the image is mirrored at its edges.
    Geometry: height and width stay, but pixels do not correspond, and Q_score is not applicable.
    Differentiable and random: adaptive attacks average over draws (EOT).

    Source: Guardians of Image Quality, section 3.2. Its code takes the nearest pixel and leaves black wedges, which a
    metric may take for damage (`paper=True`). It draws one angle for all images of a batch; here each image draws its
    own, also with `paper=True`, since a score must not depend on the other images of its batch.
    limit: largest angle to either side, in degrees, above 0 and at most 180.
    Raises: ConfigurationError for another limit, or without streams.
    """

    name: ClassVar[str] = "rotate"
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    keeps_geometry: ClassVar[bool] = False
    varied_parameter: ClassVar[str] = "limit"
    parameter_values: ClassVar[Sequence[Any]] = (10, 15, 20, 30, 50)

    limit: float = 15

    def __post_init__(self) -> None:
        if not 0 < self.limit <= 180:
            raise ConfigurationError(f"rotate needs a limit above 0 and at most 180 degrees, got {self.limit}")

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        shares = required(streams, self.name).uniform()
        return rotated(images, (2 * shares - 1) * self.limit, paper=self.paper)


def rotated(images: Tensor, degrees: Tensor, *, paper: bool = False) -> Tensor:
    """(N, 3, H, W) turned counter-clockwise by (N,) degrees; nearest pixel and black wedges with `paper`."""
    height, width = images.shape[-2:]
    angles = degrees.to(images) * (math.pi / 180)
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Where each output pixel comes from, in coordinates from −1 to 1 over width and height.
    backward = torch.stack(
        [
            torch.stack([cosine, -sine * (height / width), zero], dim=1),
            torch.stack([sine * (width / height), cosine, zero], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(backward, [*images.shape], align_corners=False)
    if paper:
        return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return within_range(F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False))
