"""Smoothing: score many noisy copies of an image and answer with a statistic that noise makes stable."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.base import DefendedMetric, Defense, DefenseKind
from iqa_robustness.defenses.certified.bounds import Certificates, median_certificates
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams, required


@dataclass(frozen=True, kw_only=True)
class Smoothing(Defense):
    """Base of the certified defenses: Gaussian noise on the image, `n` samples of the score.

    sigma: standard deviation of the noise, in units of 1, clipped to [0, 1] with the image (post-processing).
    n: samples an image.
    alpha: chance of one bound of one image's certificate to be wrong.
    """

    kind: ClassVar[DefenseKind] = "certified"
    stochastic: ClassVar[bool] = True

    sigma: float = 0.12
    n: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and self.n >= 1 and 0 < self.alpha < 1):
            raise ConfigurationError(
                f"smoothing needs sigma > 0, n >= 1 and 0 < alpha < 1, got {self.sigma}, {self.n} and {self.alpha}"
            )

    @abstractmethod
    def certificates(self, draws: Tensor) -> Certificates:
        """(N, n) scores of noisy samples to certificates."""

    def protect(self, metric: Metric) -> SmoothedMetric:
        """The smoothed metric."""
        return SmoothedMetric(metric, self)


@dataclass(frozen=True, kw_only=True)
class MedianSmoothing(Smoothing):
    """The median of the noisy scores, with bounds that hold within an l2 distance of `epsilon`.

    Source: Chiang et al., NeurIPS 2020; parameters as in the benchmark (σ .12, ε .05, n 1000, α .001), whose code
    reads both order statistics one place too low.
    Cost: `n` forwards an image.
    """

    name: ClassVar[str] = "ms"
    version: ClassVar[int] = 1

    epsilon: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.epsilon >= 0:
            raise ConfigurationError(f"the certified radius epsilon must not be negative, got {self.epsilon}")

    def certificates(self, draws: Tensor) -> Certificates:
        """Median and order statistics."""
        return median_certificates(draws, sigma=self.sigma, epsilon=self.epsilon, alpha=self.alpha)


class SmoothedMetric(DefendedMetric):
    """A smoothed metric: `forward` scores one noisy sample (attacks average over draws), `certify` draws them all."""

    defense: Smoothing

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,): the score of one noisy sample of each image, against the reference without noise."""
        return self.score(self.noisy(images, required(streams, self.defense.name)), streams, reference)

    def noisy(self, images: Tensor, streams: Streams) -> Tensor:
        """(N, 3, H, W) to the same shape: noise added, clipped to [0, 1]."""
        noise = streams.normal(*images.shape[1:])
        return (images + self.defense.sigma * noise).clamp(0, 1)

    def certify(
        self,
        images: Tensor,
        *,
        streams: Streams | None = None,
        micro_batch: int = 4,
        references: Tensor | None = None,
    ) -> Certificates:
        """Certificates of (N, 3, H, W) images; `n` forwards an image, in batches of one image's samples.

        An image's samples depend on its own stream alone, so it gets the same certificate in any batch.
        """
        streams = required(streams, self.defense.name)
        scorer = Scorer(metric=self.metric, micro_batch=micro_batch)
        rows = [
            self._draws(scorer, images[row], streams.select([row]), None if references is None else references[row])
            for row in range(len(images))
        ]
        if not rows:
            return self.defense.certificates(images.new_empty(0, self.defense.n))
        return self.defense.certificates(torch.stack(rows))

    def _draws(self, scorer: Scorer, image: Tensor, stream: Streams, reference: Tensor | None) -> Tensor:
        parts = []
        for start in range(0, self.defense.n, scorer.micro_batch):
            size = min(scorer.micro_batch, self.defense.n - start)
            noise = stream.normal(size, *image.shape)[0]
            samples = (image + self.defense.sigma * noise).clamp_(0, 1)
            # A deterministic metric draws nothing; then the stream only names the image in errors.
            beside = None if reference is None else reference.expand_as(samples)
            parts.append(scorer.scores(samples, streams=stream.select([0] * size), references=beside))
        return torch.cat(parts)
