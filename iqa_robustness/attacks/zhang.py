"""Zhang et al.: the score against a full-reference distance, under a Lagrangian."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam
from iqa_robustness.attacks.ascent import climb, normalised
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.similarity import ssim
from iqa_robustness.streams import Streams

if TYPE_CHECKING:
    from iqa_robustness.metrics.pyiqa_distance import PyiqaDistance

Distance = Callable[[Tensor, Tensor], Tensor]
"""(N, 3, H, W) images and references to (N,), differentiable in the images."""


@dataclass(frozen=True, kw_only=True)
class Zhang(LinfAttack):
    """Adam on the pixels; what climbs is the score minus `weight` times a distance to the clean image.

    The distance is part of the name, and a name never means another one: see the subclasses.

    Source: Zhang et al., NeurIPS 2022, eq. 3, and the benchmark's code, section 3.2, whose weight of 1 (score in units
    of its range) is the default. The authors try 33 weights and let people choose the largest change that they do not
    see; chosen by the score alone it would always be the smallest weight, so it is a parameter here.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size that the distance takes.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding; the published code does not project.
    Cost: `steps` forwards and backwards an image, as many of the distance, and one or two forwards to score the rounded
    result.
    `paper=True` leaves out what the authors' code does and the benchmark's does not, to divide each gradient by its
    norm, and returns the last iterate.
    Raises: ConfigurationError for fewer than one step or a negative weight.

    Args:
        steps: gradients an image; each moves a pixel by about `epsilon` / `steps`, as the published rates do.
        weight: of the distance, in units of the score range for a distance of 1.
    """

    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    steps: int = 10
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.weight >= 0:
            raise ConfigurationError(
                f"{self.name} needs steps >= 1 and weight >= 0, got {self.steps} and {self.weight}"
            )
        super().__post_init__()

    @abstractmethod
    def distance(self, device: torch.device) -> Distance:
        """The distance, ready on a device."""

    def doubled(self) -> Zhang:
        """Twice the steps, each half as long."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb for `steps` steps."""
        del streams  # the attack is deterministic
        adam = Adam(images, epsilon=TORCH_EPSILON) if self.paper else Adam(images)
        distance = self.distance(images.device)
        rate = self.epsilon / self.steps

        def move(current: Tensor, gradients: Tensor, rows: Tensor) -> Tensor:
            clean = images[rows]
            slope = gradients - self.weight * slopes(distance, current, clean)
            update = adam.directions(slope if self.paper else normalised(slope), rows)
            return self.budget.project(current + rate * update, clean)

        return climb(objective, images, steps=self.steps, move=move)


def slopes(distance: Distance, images: Tensor, references: Tensor) -> Tensor:
    """Gradients of each image's distance, (N, 3, H, W); zero where they are not finite, as a root's are at 0.

    One image at a time: a network's last bit depends on the size of its batch.
    """
    found = torch.empty_like(images)
    for row in range(len(images)):
        with torch.enable_grad():
            leaf = images[row : row + 1].detach().requires_grad_(True)
            (found[row : row + 1],) = torch.autograd.grad(distance(leaf, references[row : row + 1]).sum(), leaf)
    return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True, kw_only=True)
class ZhangSSIM(Zhang):
    """The attack of `Zhang` with the distance 1 − SSIM, see `similarity.ssim`. Source: there. Images from 7 × 7."""

    name: ClassVar[str] = "zhang-ssim"

    def distance(self, device: torch.device) -> Distance:
        """1 − SSIM."""
        del device  # nothing to move
        return lambda images, references: 1 - ssim(images, references)


@dataclass(frozen=True, kw_only=True)
class ZhangLite0Features(Zhang):
    """The attack of `Zhang` with the distance of `metrics.lite0_features`, which needs nothing but what is bundled.

    Source: the attack's is there; the distance is this package's own stand-in for the published ones, under its own
    name. Images from 32 × 32. A step costs two forwards and a backward of two fifths of
    EfficientNet-Lite0.
    """

    name: ClassVar[str] = "zhang-lite0-features"

    def distance(self, device: torch.device) -> Distance:
        """The network."""
        return self._network.to(device)

    @cached_property
    def _network(self) -> nn.Module:
        from iqa_robustness.metrics.lite0_features import Lite0Features

        return Lite0Features()


@dataclass(frozen=True, kw_only=True)
class ZhangPyiqa(Zhang):
    """The attack of `Zhang` with a distance of IQA-PyTorch, whose files must be in torch's cache.

    Raises: WeightsError, when it is made, for a file that is not there; ConfigurationError without pyiqa.

    Args:
        library: version of pyiqa, found when the attack is made.
        weights: (name, SHA-256) of the files that were read, found when the attack is made.
    """

    network: ClassVar[str]

    library: str = field(init=False, default="")
    weights: tuple[tuple[str, str], ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        from iqa_robustness.metrics import pyiqa_table

        # They decide the result, so they are fields: part of every key and record.
        object.__setattr__(self, "weights", tuple((file.name, file.sha256) for file in self._network.files))
        object.__setattr__(self, "library", f"pyiqa {pyiqa_table.version()}")

    def distance(self, device: torch.device) -> Distance:
        """The network."""
        return self._network.to(device)

    @cached_property
    def _network(self) -> PyiqaDistance:
        from iqa_robustness.metrics.pyiqa_distance import PyiqaDistance

        return PyiqaDistance(self.network)


@dataclass(frozen=True, kw_only=True)
class ZhangDISTS(ZhangPyiqa):
    """The attack of `Zhang` with DISTS, the distance of the published benchmark; weights are not included.

    Source: Ding et al., TPAMI 2020, in IQA-PyTorch's implementation; the attack's is at `Zhang`.
    """

    name: ClassVar[str] = "zhang-dists"
    network: ClassVar[str] = "dists"


@dataclass(frozen=True, kw_only=True)
class ZhangLPIPS(ZhangPyiqa):
    """The attack of `Zhang` with LPIPS 0.1 on AlexNet; weights are not included.

    Source: Zhang et al., CVPR 2018, in IQA-PyTorch's implementation; the attack's is at `Zhang`.
    """

    name: ClassVar[str] = "zhang-lpips"
    network: ClassVar[str] = "lpips"
