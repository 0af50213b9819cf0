"""FACPA: a network that makes a perturbation for each image at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from iqa_robustness.attacks.adam_learner import AdamLearner
from iqa_robustness.attacks.objectives import Goal, Shift
from iqa_robustness.attacks.perturbation_generator import PerturbationGenerator
from iqa_robustness.attacks.trained import Learner, ScoreUp, TrainedAttack
from iqa_robustness.attacks.uap import PAPER_SIDE, tiled
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.scoring import transformed
from iqa_robustness.streams import seed_of

# The published network and training.
_PAPER_WIDTH, _PAPER_LEVELS, _PAPER_EPSILON, _PAPER_RATE = 64, 8, 10 / 255, 0.001


class _GeneratorLearner(AdamLearner):
    """The weights of a generator; follows Adam."""

    def __init__(
        self, generator: PerturbationGenerator, *, rate: float, published: bool, seed: int, device: torch.device
    ) -> None:
        self._generator = generator.to(device)
        weights = dict(self._generator.named_parameters())
        if published:
            super().__init__(weights, rate=_PAPER_RATE, annealed=False, stabiliser=1e-8)
        else:
            super().__init__(weights, rate=rate, annealed=True)
        self._seed, self._step, self._dropout = seed, 0, published

    def perturbations(self, images: Tensor) -> Tensor:
        """One for each image."""
        drawn = Generator().manual_seed(seed_of(str(self._seed), str(self._step))) if self._dropout else None
        padded = _padded(images, 2 ** len(self._generator.down))
        made: Tensor = self._generator(padded, dropout=drawn)
        return made[..., : images.shape[-2], : images.shape[-1]]

    def update(self, share: float) -> None:
        """A step of Adam."""
        super().update(share)
        self._step += 1

    def state(self) -> dict[str, Tensor]:
        """With the number of steps, which dropout is drawn by."""
        return {**super().state(), "step": torch.tensor(self._step)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take all of it up again."""
        super().restore(state)
        self._step = int(state["step"])


@dataclass(frozen=True, kw_only=True)
class FACPA(TrainedAttack):
    """A perturbation for each image by one pass through a U-Net, trained on other images.

    Source: Shumitskaya, Antsiferova, Vatolin, 2023 (arXiv 2305.15544); benchmark section 3.2 (`cnn-attack`), whose
    network has 54 million weights, is trained at 10/255 and scaled to the strength, raises scores even where lower is
    better, sees the top-left part whose sides are multiples of 256, and repeats its perturbation over the rest.
    `paper=True` does all that. Here it is trained at the epsilon, size and direction it is used at, sees the whole
    image (the edge repeated up to a multiple of 2^levels), and is small enough for a CPU.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: a pass through the U-Net, one backward and two or three forwards an image, all of these evidence and checks.
    The default training takes 37 s of one core against `compact` at 192 × 256.
    Raises: ArtefactError without a generator, or with one trained for something else.
    """

    name: ClassVar[str] = "facpa"
    version: ClassVar[int] = 1

    width: int = 16
    levels: int = 5
    rate: float = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or self.levels < 1 or not self.rate > 0:
            raise ConfigurationError(
                f"facpa needs width >= 1, levels >= 1 and rate > 0, got {self.width}, {self.levels} and {self.rate}"
            )

    def learner(self, size: tuple[int, int], *, seed: int, device: torch.device) -> Learner:
        """A generator with weights drawn by the seed; it takes any size."""
        del size
        width, levels = (_PAPER_WIDTH, _PAPER_LEVELS) if self.paper else (self.width, self.levels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = PerturbationGenerator(width=width, levels=levels)
        return _GeneratorLearner(generator, rate=self.rate, published=self.paper, seed=seed, device=device)

    def perturbations(self, tensors: Mapping[str, Tensor], images: Tensor, *, micro_batch: int) -> Tensor:
        """(N, 3, H, W); an image's own does not depend on its companions, bit for bit."""
        generator = PerturbationGenerator.of(tensors)
        height, width = images.shape[-2:]
        seen = images
        if self.paper:
            seen = images[..., : max(height // PAPER_SIDE, 1) * PAPER_SIDE, : max(width // PAPER_SIDE, 1) * PAPER_SIDE]
            seen = F.pad(seen, (0, max(PAPER_SIDE - width, 0), 0, max(PAPER_SIDE - height, 0)))
        seen = _padded(seen, 2 ** len(generator.down))
        made = transformed(lambda batch, streams: generator(batch), seen, size=micro_batch)  # noqa: ARG005 - draws nothing
        return tiled(made, (height, width))

    def untrained(self) -> Self:
        """As published, one generator serves all strengths."""
        return replace(super().untrained(), epsilon=_PAPER_EPSILON) if self.paper else super().untrained()

    def training_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The attacked images' size; 256 × 256 as published."""
        return (PAPER_SIDE, PAPER_SIDE) if self.paper else size

    def training_goal(self, goal: Shift) -> Goal:
        """The goal; as published the score upwards."""
        return ScoreUp() if self.paper else goal


def _padded(images: Tensor, multiple: int) -> Tensor:
    """The last row and column repeated until both sides are multiples."""
    missing = [-side % multiple for side in images.shape[-2:]]
    return F.pad(images, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else images
