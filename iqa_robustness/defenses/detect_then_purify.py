"""Detect, then purify: an image that looks attacked is purified before it is scored; all others keep their score."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness import datasets, defenses
from iqa_robustness.datasets.base import Dataset, view
from iqa_robustness.defenses import detectors
from iqa_robustness.defenses.base import DefendedMetric, Defense, DefenseKind, Purification
from iqa_robustness.defenses.detectors.base import Detector, Suspicion
from iqa_robustness.defenses.detectors.expressions import parted
from iqa_robustness.defenses.detectors.score_change import ScoreChange
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.measures.detection import threshold_at
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

# A threshold must not depend on how many images are scored at once.
_MICRO_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class DetectThenPurify(Defense):
    """f(P(x)) where the suspicion is above a threshold, f(x) elsewhere. Written `detect-then-purify:DETECTOR:P`.

    A decision has no slope: an attack is given that of the branch taken, through the purification's surrogate if it
    has no gradient of its own (BPDA). The detector is queried without a gradient.
    What is scored is the image as it is or another one, so Q_score is not applicable.

    Source: Meng and Chen, CCS 2017 (detector before reformer).
    detector, purification: see there.
    threshold: in units of the suspicion; None to choose it, for each metric and size of images, on clean images.
    false_positive_rate, dataset, images: how it is chosen then: at most that share of clean images is expected above
        it, by so many images of that data set, which must not be those that are judged.
    paper: the purification as published.
    Cost: the detector's forwards and two more an image; once for each metric and size, the detector's on `images`.
    Raises: ConfigurationError for what is no detector or purification, a rate that is none, or too few images for it.
    """

    name: ClassVar[str] = "detect-then-purify"
    version: ClassVar[int] = 1
    kind: ClassVar[DefenseKind] = "detection"
    differentiable: ClassVar[bool] = False
    keeps_geometry: ClassVar[bool] = False

    # Of the simple ones it sees gradient attacks best, and confuses damage with attacks least; see docs/experiments.md.
    detector: Detector = ScoreChange(transformation=Flip())  # noqa: RUF009 - frozen
    purification: Purification = JPEG()  # noqa: RUF009 - frozen
    threshold: float | None = None
    false_positive_rate: float = 0.05
    dataset: str = "leaves"
    images: int = 40

    def __post_init__(self) -> None:
        if not isinstance(self.detector, Detector):
            raise ConfigurationError(f"{self.detector!r} is no detector", fix="give iqa_robustness' or your own")
        if not isinstance(self.purification, Purification) or self.purification.kind != "purification":
            raise ConfigurationError(f"{self.purification!r} is no purification", fix="give a purification")
        if not 0 < self.false_positive_rate < 1:
            raise ConfigurationError(
                f"a false positive rate lies strictly between 0 and 1, got {self.false_positive_rate}"
            )
        if self.paper and not self.purification.paper:
            object.__setattr__(self, "purification", replace(self.purification, paper=True))

    @property
    def stochastic(self) -> bool:
        """The detector or the purification is."""
        return self.detector.stochastic or self.purification.stochastic

    @property
    def surrogate_name(self) -> str:
        """`branch-taken`, and the purification's surrogate if it needs one."""
        return "branch-taken" + ("" if self.purification.differentiable else f"+{self.purification.surrogate_name}")

    @property
    def contents(self) -> dict[str, Any]:
        """For store keys: what the threshold depends on, and nothing that it does not."""
        if self.threshold is not None:
            return dict.fromkeys(("dataset", "images", "false_positive_rate"))
        return {"dataset": [self.dataset, datasets.load(self.dataset).digest]}

    def protect(self, metric: Metric) -> DetectedMetric:
        """The metric that purifies what it suspects."""
        return DetectedMetric(metric, self)


class DetectedMetric(DefendedMetric):
    """Scores purified images where the detector is suspicious, and the others as they are.

    Raises: CapabilityError for a full-reference metric behind a purification that moves pixels.
    """

    defense: DetectThenPurify

    def __init__(self, metric: Metric, defense: DetectThenPurify) -> None:
        super().__init__(metric, defense)
        self.purified = defense.purification.protect(metric)
        self._thresholds: dict[Hashable, float] = {}

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,). The gradient is that of the branch taken."""
        found = self.detected(images, streams=streams, reference=reference)
        plain = self.score(images, streams, reference)
        # Both branches for every image: an image's bits may depend on how many are scored with it.
        purified = self.purified.forward(images, streams=streams, reference=reference)
        return torch.where(found, purified, plain)

    def detected(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N,) bool: whose suspicion is above the threshold."""
        with torch.no_grad():
            suspicion = self.defense.detector.suspicion(self.metric, images, streams=streams, reference=reference)
        height, width = images.shape[2:]
        return suspicion > self.threshold((height, width), device=images.device)

    def threshold(self, size: tuple[int, int], *, device: torch.device | str = "cpu") -> float:
        """The threshold for images of `size` = (height, width), in units of the suspicion; chosen at the first call.

        Raises:
            ConfigurationError: the data set has too few images for the rate.
        """
        defense = self.defense
        if defense.threshold is not None:
            return defense.threshold
        place = (size, str(torch.device(device)))
        if place not in self._thresholds:
            chosen = view(_loaded(defense.dataset), count=defense.images, size=size)
            ids = [item.id for item in chosen.items]
            rows = range(len(ids))
            images, references = (pictures.to(device) for pictures in (chosen.batch(rows), chosen.references(rows)))
            clean = Scorer(metric=Suspicion(self.metric, defense.detector), micro_batch=_MICRO_BATCH).scores(
                images, streams=Streams("threshold", ids, device=device), references=references
            )
            found = threshold_at(clean.cpu().numpy(), defense.false_positive_rate)
            if found == float("inf"):
                raise ConfigurationError(
                    f"{len(ids)} images of {defense.dataset} are too few for a false positive rate of "
                    f"{defense.false_positive_rate:g}",
                    where=Where(defense=defense.name, dataset=defense.dataset),
                    fix="give a data set with at least 1 / rate − 1 images, or a threshold",
                )
            self._thresholds[place] = found
        return self._thresholds[place]


def expressed(member: str, **parameters: Any) -> Defense:
    """The defense `detect-then-purify:DETECTOR:PURIFICATION`; parameters are its other fields."""
    detector, purification = parted(member)
    chosen = {"detector": detectors.create(detector), "purification": defenses.create(purification)}
    return defenses.create(DetectThenPurify.name, **chosen, **parameters)


@lru_cache(maxsize=2)
def _loaded(dataset: str) -> Dataset:
    return datasets.load(dataset)
