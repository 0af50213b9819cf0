"""What attacks that climb by gradients share: a loop in which each image ends for itself, and a direction's scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import Objective

Move = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(M, …) positions, (M, …) gradients and (M,) rows of the images that go on, to their new positions."""


def climb(objective: Objective, images: Tensor, *, steps: int, move: Move) -> Tensor:
    """Climb from `images` for at most `steps` steps; (N, 3, H, W), the last iterate.

    One forward and one backward a step for every image that still climbs.

    Args:
        objective: what is maximised.
        images: (N, 3, H, W), the start.
        steps: gradients an image may take.
        move: makes the next iterates of some images; it must keep them within [0, 1].
    """
    current = images.clone()
    rows = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        everyone = len(rows) == len(images)
        values, gradients = objective.values_and_gradients(current[rows], None if everyone else rows)
        on = ~objective.goal.reached(values)
        rows, gradients = rows[on], gradients[on]
        if not len(rows):
            break
        current[rows] = move(current[rows], gradients, rows)
    return current


def inner_products(first: Tensor, second: Tensor) -> Tensor:
    """Σ first · second of each image. (N, …) twice to (N, 1, …) float64, with as many axes."""
    sums = (first.double() * second.double()).flatten(1).sum(dim=1)
    return sums.view(-1, *[1] * (first.dim() - 1))


def normalised(directions: Tensor) -> Tensor:
    """Each image's direction with a root mean square of 1; zero stays zero. (N, …) to the same shape and dtype."""
    size = (inner_products(directions, directions) / max(directions[:1].numel(), 1)).sqrt()
    scaled = directions.double() / size.clamp(min=torch.finfo(size.dtype).tiny)
    return torch.where(size > 0, scaled, 0.0).to(directions.dtype)
