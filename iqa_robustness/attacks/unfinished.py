"""Gradients of the images that have not reached their goal yet: who has arrived costs nothing more."""

from __future__ import annotations

import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import Objective, Shift


def values_and_gradients(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N,) and gradients (N, 3, H, W), both new tensors, at floating-point images (N, 3, H, W), one a row.

    An image arrives when a gradient pass shows its goal reached and a query of its 8-bit form, made at once, confirms
    it. From then on, and once it cannot pay, it is not asked about: its value is −inf and its gradient zero.

    Raises:
        BudgetExhausted: with a goal that is never reached, once the images cannot pay.
    """
    if isinstance(objective.goal, Shift):  # more is always wanted: nothing to look at on the device
        return objective.values_and_gradients(images)
    rows = objective.unfinished()
    values = torch.full((len(images),), -torch.inf, device=images.device)
    gradients = torch.zeros_like(images)
    if len(rows):
        values[rows], gradients[rows] = objective.values_and_gradients(images[rows], rows)
        arrived = objective.goal.reached(values).nonzero().flatten()
        if len(arrived):
            objective.values(images[arrived], arrived)
    return values, gradients
