"""SSAH: a perturbation kept out of the low frequencies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam
from iqa_robustness.attacks.ascent import climb, normalised
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

_PAPER_WEIGHT = 0.1


@dataclass(frozen=True, kw_only=True)
class SSAH(LinfAttack):
    """Adam on the pixels under a penalty on the change's low frequencies, the LL band of a Haar transform.

    Source: Luo et al., CVPR 2022, eq. 8–9. Their other half, similarity of a classifier's features, has no meaning for
    a score and is the score itself here; their tanh keeps pixels in range, as the projection does. The published weight
    of the penalty, 0.1 times its sum over the pixels, makes it decide alone on large images, where a pixel's share
    of a score is small; here the penalty is measured against each image's own gradient. The benchmark's code
    (section 3.2) keeps the published weight: `paper=True`, with the last iterate.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding; the published code does not project.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result.
    Raises: ConfigurationError for fewer than one step, an epsilon that is not positive or a negative weight.

    Args:
        steps: gradients an image; each moves a pixel by about `epsilon` / `steps`, as the published rates do.
        weight: the penalty's slope where the low frequencies changed by `epsilon`, in root mean squares of the score's
            gradient; 0 leaves them alone.
    """

    name: ClassVar[str] = "ssah"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    weight: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.epsilon > 0 or not self.weight >= 0:
            raise ConfigurationError(
                "ssah needs steps >= 1, epsilon > 0 and weight >= 0, "
                f"got {self.steps}, {self.epsilon} and {self.weight}"
            )
        super().__post_init__()

    def doubled(self) -> SSAH:
        """Twice the steps, each half as long."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        adam = Adam(images, epsilon=TORCH_EPSILON) if self.paper else Adam(images)
        rate = self.epsilon / self.steps

        def move(current: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            # Changes are below 1, where the published smooth l1 penalty is half the square: its gradient is the change.
            low = low_frequencies(current - images[rows])
            if self.paper:
                slope = gradients - _PAPER_WEIGHT * low
            else:
                slope = normalised(gradients) - self.weight / self.epsilon * low
            return self.budget.project(current + rate * adam.directions(slope, rows), images[rows])

        return climb(objective, images, steps=self.steps, move=move)


def low_frequencies(changes: Tensor) -> Tensor:
    """What one level of the Haar transform calls low: each 2 × 2 block's mean; of half a block at an odd border.

    (N, 3, H, W) to the same shape; an orthogonal projection.
    """
    height, width = changes.shape[-2:]
    means = F.avg_pool2d(changes, 2, ceil_mode=True)
    return means.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., :height, :width]
