"""Smoothing: score many noisy copies of an image and answer with a statistic that noise makes stable."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from iqa_robustness.defenses.base import DefendedMetric, Defense, DefenseKind
from iqa_robustness.defenses.certified.bounds import Certificates
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.preparation import resized
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams, required

Form = Literal["median", "classification"]


@dataclass(frozen=True, kw_only=True)
class Smoothing(Defense):
    """Base of the certified defenses: Gaussian noise on the image, `n` samples of the score.

    form: `median` (a percentile of the scores, with bounds) or `classification` (a vote on classes of scores).
    sigma: standard deviation of the noise, in units of 1; the noisy image is clipped to [0, 1] (post-processing).
    n: samples an image.
    alpha: chance of one bound of one image's certificate to be wrong.
    resolution: side in pixels to which an image is brought before the noise, bilinear without antialiasing; the
        certificate then speaks of that image, and its radius is no radius of the original. None: each image's own size.
    """

    kind: ClassVar[DefenseKind] = "certified"
    stochastic: ClassVar[bool] = True
    form: ClassVar[Form]

    sigma: float = 0.12
    n: int = 1000
    alpha: float = 0.001
    resolution: int | None = None

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and self.n >= 1 and 0 < self.alpha < 0.5):
            raise ConfigurationError(
                f"smoothing needs sigma > 0, n >= 1 and 0 < alpha < 0.5, got {self.sigma}, {self.n} and {self.alpha}"
            )
        if self.resolution is not None and not self.resolution >= 1:
            raise ConfigurationError(
                f"a resolution of {self.resolution} is refused",
                where=Where(defense=self.name),
                fix="give pixels, or None",
            )

    @property
    def certifies_at(self) -> int | None:
        """Side in pixels of the images that certificates speak of; None where it is each image's own size."""
        return self.resolution

    @property
    def selecting(self) -> int:
        """Samples of an image that choose its class, beside those that count; 0 where nothing is chosen."""
        return 0

    @abstractmethod
    def certificates(
        self, draws: Tensor, *, selection: Tensor | None = None, score_range: tuple[float, float], family: int = 1
    ) -> Certificates:
        """Scores of noisy samples to certificates; arithmetic alone.

        Args:
            draws: (N, n) score units; NaN after the last one of an image that has fewer.
            selection: (N, n0) scores that choose the class; a median does not read them.
            score_range: of the metric.
            family: images that are certified together: each bound is wrong with chance `alpha` ÷ `family` only, so
                that with `alpha` none of them is (Bonferroni).
        """

    def protect(self, metric: Metric) -> SmoothedMetric:
        """The smoothed metric."""
        return SmoothedMetric(metric, self)


class SmoothedMetric(DefendedMetric):
    """A smoothed metric: `forward` scores one noisy sample (attacks average over draws), `certify` draws them all."""

    defense: Smoothing

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,): the score of one noisy sample of each image, against the reference without noise."""
        noisy = self.noisy(images, required(streams, self.defense.name))
        return self.score(noisy, streams, None if reference is None else self.sized(reference))

    def noisy(self, images: Tensor, streams: Streams) -> Tensor:
        """(N, 3, H, W) to the same shape, or to the resolution that is certified: noise added, clipped to [0, 1]."""
        images = self.sized(images)
        return (images + self.defense.sigma * streams.normal(*images.shape[1:])).clamp(0, 1)

    def sized(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) as they are, or at the resolution that is certified."""
        side = self.defense.certifies_at
        return images if side is None else resized(images, (side, side), antialias=False)

    def certify(
        self,
        images: Tensor,
        *,
        streams: Streams | None = None,
        micro_batch: int = 4,
        references: Tensor | None = None,
    ) -> Certificates:
        """Certificates of (N, 3, H, W) images; `selecting` + `n` forwards an image, in batches of one image's samples.

        An image's samples depend on its own stream alone, so it gets the same certificate in any batch.
        """
        streams = required(streams, self.defense.name)
        scorer = Scorer(metric=self.metric, micro_batch=micro_batch)
        n0, n = self.defense.selecting, self.defense.n
        selected, rows = [images.new_empty(0, n0)], [images.new_empty(0, n)]
        for row in range(len(images)):
            image = self.sized(images[row : row + 1])[0]
            beside = None if references is None else self.sized(references[row : row + 1])[0]
            stream = streams.select([row])
            selected.append(self._draws(scorer, image, n0, stream, beside)[None])
            rows.append(self._draws(scorer, image, n, stream, beside)[None])
        return self.defense.certificates(
            torch.cat(rows), selection=torch.cat(selected), score_range=self.metric.spec.score_range
        )

    def _draws(self, scorer: Scorer, image: Tensor, count: int, stream: Streams, reference: Tensor | None) -> Tensor:
        parts = [image.new_empty(0)]
        for start in range(0, count, scorer.micro_batch):
            size = min(scorer.micro_batch, count - start)
            noise = stream.normal(size, *image.shape)[0]
            samples = noise.mul_(self.defense.sigma).add_(image).clamp_(0, 1)
            # A deterministic metric draws nothing; then the stream only names the image in errors.
            beside = None if reference is None else reference.expand_as(samples)
            parts.append(scorer.scores(samples, streams=stream.select([0] * size), references=beside))
        return torch.cat(parts)
