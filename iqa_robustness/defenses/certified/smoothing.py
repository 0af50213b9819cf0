"""Smoothing: score many noisy copies of an image and answer with a statistic that noise makes stable."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.base import DefendedMetric, Defense, DefenseKind
from iqa_robustness.defenses.certified.bounds import Certificates
from iqa_robustness.errors import CapabilityError, ConfigurationError, Where
from iqa_robustness.measures.certified import family_wise
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.preparation import resized
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams, required

if TYPE_CHECKING:  # most smoothings need none of its networks
    from iqa_robustness.defenses.certified.denoisers import Denoiser

Form = Literal["median", "classification"]


@dataclass(frozen=True, kw_only=True)
class Smoothing(Defense):
    """Base of the certified defenses: Gaussian noise on the image, `n` samples of the score.

    form: `median` (a percentile of the scores, with bounds) or `classification` (a vote on classes of scores).
    sigma: standard deviation of the noise, in units of 1; a noisy image is denoised where there is a denoiser, and
        clipped to [0, 1] (post-processing).
    n: samples an image.
    alpha: chance of one bound of one image's certificate to be wrong.
    looks: how often an image's samples are looked at, the last time at all `n`, each earlier time at half as many;
        sampling stops when its decision is `settled`. Each look is granted `alpha` ÷ `looks`, so that the bounds hold
        wherever it stops. With 1 there is no early stop.
    resolution: side in pixels to which an image is brought before the noise, bilinear without antialiasing; the
        certificate then speaks of that image, and its radius is no radius of the original. None: each image's own size.
    """

    kind: ClassVar[DefenseKind] = "certified"
    stochastic: ClassVar[bool] = True
    form: ClassVar[Form]

    sigma: float = 0.12
    n: int = 1000
    alpha: float = 0.001
    looks: int = 1
    resolution: int | None = None

    def __post_init__(self) -> None:
        where = Where(defense=self.name)
        if not (self.sigma > 0 and self.n >= 1 and 0 < self.alpha < 0.5):
            raise ConfigurationError(
                f"smoothing needs sigma > 0, n >= 1 and 0 < alpha < 0.5, got {self.sigma}, {self.n} and {self.alpha}",
                where=where,
            )
        if not self.looks >= 1:
            raise ConfigurationError(f"samples are looked at once at least, got looks={self.looks}", where=where)
        if self.resolution is not None and not self.resolution >= 1:
            raise ConfigurationError(
                f"a resolution of {self.resolution} is refused", where=where, fix="give pixels, or None"
            )

    @property
    def certifies_at(self) -> int | None:
        """Side in pixels of the images that certificates speak of; None where it is each image's own size."""
        return self.resolution

    @property
    def selecting(self) -> int:
        """Samples of an image that choose its class, beside those that count; 0 where nothing is chosen."""
        return 0

    @property
    def denoises(self) -> Denoiser | None:
        """What cleans every noisy sample; None for nothing."""
        return None

    @property
    def differentiable(self) -> bool:
        """The denoiser is, or there is none."""
        return self.denoises is None or self.denoises.differentiable

    @property
    def surrogate_name(self) -> str:
        """For protocol names: what stands in for the slope of a denoiser without one."""
        return "" if self.denoises is None else self.denoises.surrogate_name

    @property
    def scored_times(self) -> int:
        """How often a noisy sample is denoised and scored; `settle` makes one draw of these scores."""
        return 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many samples there are at each look."""
        return tuple(sorted({-(-self.n // 2**number) for number in range(self.looks)}))

    def level(self, family: int) -> float:
        """The chance of error of one bound at one look, where `family` images are certified together."""
        return family_wise(self.alpha, family * self.looks)

    def settle(self, scores: Tensor, score_range: tuple[float, float]) -> Tensor:
        """(B, `scored_times`) scores of B noisy samples to (B,) draws."""
        del score_range
        return scores[:, 0]

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

    @abstractmethod
    def settled(self, certificates: Certificates, score_range: tuple[float, float]) -> bool:
        """Whether the certificate of one image, (1,), answers what was asked, so that more samples are not needed."""

    def protect(self, metric: Metric) -> SmoothedMetric:
        """The smoothed metric."""
        return SmoothedMetric(metric, self)


class SmoothedMetric(DefendedMetric):
    """A smoothed metric: `forward` scores one noisy sample (attacks average over draws), `certify` draws them all.

    Raises: CapabilityError for a full-reference metric behind a denoiser that moves pixels.
    """

    defense: Smoothing

    def __init__(self, metric: Metric, defense: Smoothing) -> None:
        super().__init__(metric, defense)
        self._denoiser = defense.denoises
        if metric.spec.full_reference and self._denoiser is not None and not self._denoiser.keeps_geometry:
            raise CapabilityError(
                "the denoiser moves pixels, and the metric compares them with a reference that stays",
                where=Where(metric=metric.spec.name, defense=defense.name),
                fix="choose a denoiser that keeps the geometry",
            )

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,): the score of one noisy sample of each image, against the reference without noise.

        Gradients pass through the denoiser, or through its surrogate.
        """
        noisy = self.noisy(images, required(streams, self.defense.name))
        return self.score(noisy, streams, None if reference is None else self.sized(reference))

    def noisy(self, images: Tensor, streams: Streams) -> Tensor:
        """(N, 3, H, W) to what the metric is given: noise added at the certified resolution, denoised, in [0, 1]."""
        images = self.sized(images)
        return self._cleaned(images + self.defense.sigma * streams.normal(*images.shape[1:]), streams)

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

        An image's samples depend on its own stream alone, so it gets the same certificate in any batch. Memory is that
        of `micro_batch` samples.
        """
        streams = required(streams, self.defense.name)
        scorer = Scorer(metric=self.metric, micro_batch=micro_batch)
        chosen, drawn = [images.new_empty(0, self.defense.selecting)], [images.new_empty(0, self.defense.n)]
        for row in range(len(images)):
            source = _Samples(
                image=self.sized(images[row : row + 1])[0],
                reference=None if references is None else self.sized(references[row : row + 1])[0],
                stream=streams.select([row]),
            )
            selection = self._scores(scorer, source, self.defense.selecting)[None]
            chosen.append(selection)
            drawn.append(self._until_settled(scorer, source, selection))
        return self._certificates(torch.cat(drawn), torch.cat(chosen))

    def _certificates(self, draws: Tensor, selection: Tensor) -> Certificates:
        return self.defense.certificates(draws, selection=selection, score_range=self.metric.spec.score_range)

    def _until_settled(self, scorer: Scorer, source: _Samples, selection: Tensor) -> Tensor:
        """(1, n) draws of one image, NaN for those that were spared."""
        draws = selection[:, :0]
        for size in self.defense.sizes:
            more = self._scores(scorer, source, size - draws.shape[1])
            draws = torch.cat([draws, more[None]], dim=1)
            if size < self.defense.n and self.defense.settled(
                self._certificates(draws, selection), self.metric.spec.score_range
            ):
                break
        return F.pad(draws, (0, self.defense.n - draws.shape[1]), value=torch.nan)

    def _scores(self, scorer: Scorer, source: _Samples, count: int) -> Tensor:
        """(count,) draws."""
        parts = [source.image.new_empty(0)]
        for start in range(0, count, scorer.micro_batch):
            size = min(scorer.micro_batch, count - start)
            # A deterministic metric draws nothing; then the stream only names the image in errors.
            streams = source.stream.select([0] * size)
            reference = None if source.reference is None else source.reference.expand(size, -1, -1, -1)
            with torch.inference_mode():
                noisy = source.stream.normal(size, *source.image.shape)[0]
                noisy.mul_(self.defense.sigma).add_(source.image)
            found = []
            for _ in range(self.defense.scored_times):
                with torch.inference_mode():
                    samples = self._cleaned(noisy, streams)
                found.append(scorer.scores(samples, streams=streams, references=reference))
            parts.append(self.defense.settle(torch.stack(found, dim=1), self.metric.spec.score_range))
        return torch.cat(parts)

    def _cleaned(self, noisy: Tensor, streams: Streams) -> Tensor:
        if self._denoiser is None:
            return noisy.clamp(0, 1)
        return self._denoiser.denoised(noisy, sigma=self.defense.sigma, streams=streams)


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """One image to draw noisy samples of: (3, H, W), its reference, and its stream."""

    image: Tensor
    reference: Tensor | None
    stream: Streams
