"""AMI-FGSM: momentum, and a bound that depends on the image's own quality."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class AMIFGSM(LinfAttack):
    """Steps along the sign of the sum of all gradients so far, in a ball that is smaller for images of low quality.

    An image may change by min(epsilon, niqe_scale ÷ NIQE(image)) and steps by that ÷ steps.

    Source: Sang et al., 2022, as the MSU metrics robustness benchmark describes it: MI-FGSM, without the division
    by the l1 norm, in the bound 1 ÷ NIQE. Its public code holds no NIQE and gives every image the same bound; so does
    `niqe_scale=None`, the default, for NIQE needs the parameter file of its release and at least 96 × 96 pixels.
    In the purification benchmark's list the varied constant K goes from 0.05 to 5; read as `niqe_scale`, K = 0.06 gives
    a clean photograph (NIQE about 4) the medium bound.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding; the smaller bounds lie within it.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result; NIQE once an
    image. Images that reach a target score stop, for one forward more.
    `paper=True` returns the last iterate.
    Raises: ConfigurationError for fewer than one step, a negative decay or a scale that is not positive; with a
        `niqe_scale` WeightsError without NIQE's parameters, and ImageContractError for smaller images.
    """

    name: ClassVar[str] = "ami-fgsm"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    decay: float = 1.0
    niqe_scale: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.decay >= 0 or not (self.niqe_scale is None or self.niqe_scale > 0):
            raise ConfigurationError(
                "ami-fgsm needs steps >= 1, decay >= 0 and niqe_scale > 0, "
                f"got {self.steps}, {self.decay} and {self.niqe_scale}"
            )
        super().__post_init__()

    def doubled(self) -> AMIFGSM:
        """Twice the steps, each half as long."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        bound = self._bounds(objective, images)[:, None, None, None]
        low, high = (images - bound).clamp_(min=0), (images + bound).clamp_(max=1)
        current, momentum = images, torch.zeros_like(images)
        for _ in range(self.steps):
            _, gradients = values_and_gradients(objective, current)
            momentum = momentum.mul_(self.decay).add_(gradients)
            current = torch.sign(momentum, out=gradients).mul_(bound / self.steps).add_(current).clamp_(low, high)
        return current

    def _bounds(self, objective: Objective, images: Tensor) -> Tensor:
        """(N,) how far each image may go, in units of 1."""
        if self.niqe_scale is None or not len(images):
            return images.new_full((len(images),), self.epsilon)
        from iqa_robustness.metrics.niqe import Niqe

        niqe = Scorer(metric=Niqe().to(images.device), micro_batch=objective.scorer.micro_batch)
        return (self.niqe_scale / niqe.scores(images)).clamp_(max=self.epsilon)
