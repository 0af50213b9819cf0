"""Smoothing with a diffusion model: one estimate of the image, or a vote of several ways back to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.certified.denoisers import OneShotDiffusion, ReverseDiffusion
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.defenses.certified.score_classes import CLASSES, ScoreClasses
from iqa_robustness.defenses.purification.diffpure import PUBLISHED_SIDE, DiffPure
from iqa_robustness.errors import ConfigurationError, Where


@dataclass(frozen=True, kw_only=True)
class _DiffusionSmoothing(RandomizedSmoothing):
    """What both share.

    weights: as of `diffpure`; empty for the bundled model.
    """

    weights: str = ""

    @property
    def certifies_at(self) -> int | None:
        """`resolution`; as published the model's size."""
        return self.resolution or (PUBLISHED_SIDE if self.paper else None)

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: the digests of the model. Raises WeightsError."""
        return DiffPure(weights=self.weights).contents


@dataclass(frozen=True, kw_only=True)
class DiffusionDenoisedSmoothing(_DiffusionSmoothing):
    """Randomized smoothing of samples that a diffusion model denoises at one stroke.

    Source: Carlini et al., ICLR 2023.
    Cost: `n0` + `n` forwards of model and metric an image.
    Raises: ConfigurationError for values out of range, and without streams; the key: WeightsError.

    weights: as of `diffpure`; empty for the bundled model, which takes any size.
    paper: the image is brought to 256 × 256 first, which is what then is certified. (The published noise is that of the
        timestep, which is a little more than sigma: not reproduced.)
    """

    name: ClassVar[str] = "ddrs"
    version: ClassVar[int] = 1

    @property
    def denoises(self) -> OneShotDiffusion:
        """The model at one stroke."""
        return OneShotDiffusion(weights=self.weights)


@dataclass(frozen=True, kw_only=True)
class DensePure(_DiffusionSmoothing):
    """Randomized smoothing of votes: each noisy sample goes several ways back, and their majority is its class.

    A draw is the score of the first way back whose class has the majority, the lowest class of several.

    Source: Xiao et al., ICLR 2023, section 4.2; the benchmark takes a single way back, which is no vote (`paper=True`).
    Cost: (`n0` + `n`) · `reverse_samples` forwards of the metric an image, `evaluations` times as many of the model.
    Raises: ConfigurationError for values out of range, and without streams; the key: WeightsError.

    weights: as of `diffpure`; empty for the bundled model, which takes any size.
    evaluations: of the network on each way back, evenly spaced.
    reverse_samples: ways back from each noisy sample, each with draws of its own; an attack's samples go one.
    paper: one way back, and the image is brought to 256 × 256 first, which is what then is certified. (One seed for all
        ways back is not reproduced.)
    """

    name: ClassVar[str] = "densepure"
    version: ClassVar[int] = 1

    evaluations: int = 2
    reverse_samples: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("evaluations", "reverse_samples"):
            if not getattr(self, field) >= 1:
                raise ConfigurationError(
                    f"{field} must be at least 1, got {getattr(self, field)}", where=Where(defense=self.name)
                )

    @property
    def denoises(self) -> ReverseDiffusion:
        """A draw of the way back."""
        return ReverseDiffusion(weights=self.weights, evaluations=self.evaluations)

    @property
    def scored_times(self) -> int:
        """`reverse_samples`; as published one."""
        return 1 if self.paper else self.reverse_samples

    def settle(self, scores: Tensor, score_range: tuple[float, float]) -> Tensor:
        """(B, K) scores of K ways back to (B,): the first one of the class that most of them have."""
        classes = ScoreClasses(score_range).of(scores)
        every = torch.arange(CLASSES, device=scores.device)
        majority = (classes[:, :, None] == every).sum(dim=1).argmax(dim=1)
        first = (classes == majority[:, None]).int().argmax(dim=1)
        return scores.gather(1, first[:, None])[:, 0]
