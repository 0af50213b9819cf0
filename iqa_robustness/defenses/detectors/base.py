"""The contract of a detector: it says how likely an image is to have been attacked."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Detector(ABC):
    """Base of all detectors. A subclass declares the class attributes and its parameters as fields.

    name: as registered.              version: raised when its results change.
    forwards: passes of the metric an image costs.
    stochastic: it draws from `streams`.

    Each is a class attribute, or a property where it depends on the parameters.
    """

    version: ClassVar[int]
    if TYPE_CHECKING:  # to a type checker, what is read-only may be overridden by either

        @property
        def name(self) -> str:
            """As registered."""

        @property
        def forwards(self) -> int:
            """Passes of the metric an image costs."""

        @property
        def stochastic(self) -> bool:
            """It draws."""

    else:
        stochastic: ClassVar[bool] = False

    @abstractmethod
    def suspicion(
        self, metric: Metric, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None
    ) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N,): the larger, the more likely the image was attacked.

        Args:
            metric: the undefended metric.
            images: what may have been attacked.
            streams: noise of a stochastic metric or detector.
            reference: (N, 3, H, W), what a full-reference metric compares with.
        """


class Suspicion(Metric):
    """A detector as a metric, whose score is the suspicion: a `Scorer` takes it, and an attack can try to lower it.

    Args:
        metric: the undefended metric.
        detector: what suspects its images.
    """

    def __init__(self, metric: Metric, detector: Detector) -> None:
        super().__init__()
        self.metric = metric
        self.detector = detector
        self.spec = dataclasses.replace(
            metric.spec,
            name=f"{detector.name} of {metric.spec.name}",
            score_range=(0.0, 1.0),
            higher_is_better=False,
            stochastic=metric.spec.stochastic or detector.stochastic,
        )

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,). `detector.forwards` passes of the metric."""
        return self.detector.suspicion(self.metric, images, streams=streams, reference=reference)
