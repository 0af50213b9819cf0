"""UAP: one perturbation for all images, by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from iqa_robustness.attacks.adam_learner import AdamLearner
from iqa_robustness.attacks.trained import Learner, TrainedAttack
from iqa_robustness.errors import ConfigurationError

# The published training: a square of this side, at this l∞, from this value on; in units of 1.
PAPER_SIDE, PAPER_EPSILON, PAPER_START = 256, 0.1, 1e-4
_PAPER_RATE = 0.001


class _UniversalLearner(AdamLearner):
    """A perturbation of one size, in units of epsilon, kept in [−1, 1]; follows Adam."""

    def __init__(self, size: tuple[int, int], *, rate: float, published: bool, device: torch.device) -> None:
        start = PAPER_START / PAPER_EPSILON if published else 0.0
        self._values = torch.full((1, 3, *size), start, device=device, requires_grad=True)
        chosen = {"perturbation": self._values}
        if published:
            # Per unit of epsilon a gradient is a tenth of what Adam's usual 10⁻⁸ was meant for.
            super().__init__(chosen, rate=_PAPER_RATE / PAPER_EPSILON, annealed=False, stabiliser=1e-8 * PAPER_EPSILON)
        else:
            super().__init__(chosen, rate=rate, annealed=True)

    def perturbations(self, images: Tensor) -> Tensor:
        """(1, 3, H, W), the same for all images."""
        del images
        return self._values

    def update(self, share: float) -> None:
        """A step of Adam, then back into the range."""
        super().update(share)
        with torch.no_grad():
            self._values.clamp_(-1, 1)


@dataclass(frozen=True, kw_only=True)
class UAP(TrainedAttack):
    """A universal perturbation: the same change for every image, trained on others.

    Source: Shumitskaya, Antsiferova, Vatolin, BMVC 2022; benchmark section 3.2 (`uap`). Its code trains a 256 × 256
    tile at an l∞ of 0.1 and scales it down to the strength, where little is left of it (published gains at 2/255: −0.04
    to 0.04 of the range). Here it is trained at the epsilon and the size it is used at. `paper=True` trains and scales
    as published (Adam at a constant rate of 0.001, from 10⁻⁴).
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size. The perturbation is tiled from the top left where an image is
    larger than those it was trained on, and cut where it is smaller.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: one backward and two or three forwards an image, all of them evidence and checks. The default training takes
    15 s of one core against `compact` at 192 × 256.
    Raises: ArtefactError without a perturbation, or with one trained for something else.
    """

    name: ClassVar[str] = "uap"
    version: ClassVar[int] = 1

    rate: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1:
            raise ConfigurationError(f"uap needs 0 < rate <= 1, in units of epsilon a step, got {self.rate}")

    def learner(self, size: tuple[int, int], *, seed: int, device: torch.device) -> Learner:
        """A perturbation of zeros; nothing in it is random."""
        del seed
        return _UniversalLearner(size, rate=self.rate, published=self.paper, device=device)

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


def tiled(perturbation: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, 3, h, w) repeated from the top left and cut to (1, 3, *size)."""
    repeats = [math.ceil(wanted / have) for wanted, have in zip(size, perturbation.shape[-2:], strict=True)]
    return perturbation.repeat(1, 1, *repeats)[:, :, : size[0], : size[1]]
