"""Cumulative UAP: one perturbation for all images, added up from the gradients of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import Goal, Shift
from iqa_robustness.attacks.trained import Learner, ScoreUp, TrainedAttack
from iqa_robustness.attacks.uap import PAPER_EPSILON, PAPER_SIDE, PAPER_START, tiled


class _SumLearner(Learner):
    """Gradients added up. Their signs are the perturbation; as published the sum itself, kept in [−1, 1]."""

    def __init__(self, size: tuple[int, int], *, published: bool, device: torch.device) -> None:
        start = PAPER_START / PAPER_EPSILON if published else 0.0
        self._sum = torch.full((1, 3, *size), start, device=device, requires_grad=True)
        self._published = published

    def perturbations(self, images: Tensor) -> Tensor:
        """(1, 3, H, W), the same for all images; the gradient passes through the signs."""
        del images
        return self._sum if self._published else self._sum + (self._sum.sign() - self._sum).detach()

    @torch.no_grad()
    def update(self, share: float) -> None:
        """One step of the raw gradient, as published of size 1 in units of intensity; signs have no size."""
        del share
        # Squared: the gradient is per unit of epsilon, and so is the step.
        self._sum -= self._sum.grad / PAPER_EPSILON**2  # type: ignore[operator]
        if self._published:
            self._sum.clamp_(-1, 1)
        self._sum.grad = None

    def state(self) -> dict[str, Tensor]:
        """The sum."""
        return {"sum": self._sum}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take it up."""
        self._sum.copy_(state["sum"])

    def tensors(self) -> dict[str, Tensor]:
        """The perturbation."""
        return {"perturbation": self._sum if self._published else self._sum.sign()}


@dataclass(frozen=True, kw_only=True)
class CumulativeUAP(TrainedAttack):
    """A universal perturbation out of the gradients of many images, added up: epsilon times the signs of their sum.

    Each gradient is taken where the sum so far has led.

    Source: MSU metrics robustness benchmark (Antsiferova et al., AAAI 2024), `cumulative-uap`: steps of the raw
    gradient on a 256 × 256 tile at an l∞ of 0.1, upwards even where lower is better, scaled down to the strength. Raw
    gradients are so small that the perturbation hardly leaves 0; signs use the whole budget. `paper=True` does as
    published.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size; tiled from the top left, or cut, as that of `uap`.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: one backward and two or three forwards an image, all of them evidence and checks. The default training takes
    15 s of one core against `compact` at 192 × 256.
    Raises: ArtefactError without a perturbation, or with one trained for something else.
    """

    name: ClassVar[str] = "cumulative-uap"
    version: ClassVar[int] = 1

    def learner(self, size: tuple[int, int], *, seed: int, device: torch.device) -> Learner:
        """Nothing in it is random."""
        del seed
        return _SumLearner(size, published=self.paper, device=device)

    def perturbations(self, tensors: Mapping[str, Tensor], images: Tensor, *, micro_batch: int) -> Tensor:
        """The perturbation, (1, 3, H, W)."""
        del micro_batch
        return tiled(tensors["perturbation"], (images.shape[-2], images.shape[-1]))

    def untrained(self) -> Self:
        """As published, one perturbation serves all strengths."""
        return replace(super().untrained(), epsilon=PAPER_EPSILON) if self.paper else super().untrained()

    def training_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The attacked images' size; 256 × 256 as published."""
        return (PAPER_SIDE, PAPER_SIDE) if self.paper else size

    def training_goal(self, goal: Shift) -> Goal:
        """The goal; as published the score upwards."""
        return ScoreUp() if self.paper else goal
