"""Score change: what a harmless transformation does to the score, which is more where the image was attacked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.detectors.base import Detector
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class ScoreChange(Detector):
    """|f(x) − f(T(x))| / diam for a purification T: a perturbation is fragile, quality is not.

    Source: the idea of Meng and Chen, CCS 2017 (MagNet), and Das et al., KDD 2018 (JPEG), for a score instead of
    classes.
    transformation: T.
    Cost: 2 forwards and one purification an image.
    Raises: ConfigurationError for what is no purification.
    """

    version: ClassVar[int] = 1
    forwards: ClassVar[int] = 2

    transformation: Purification = JPEG()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if not isinstance(self.transformation, Purification) or self.transformation.kind != "purification":
            raise ConfigurationError(
                f"{getattr(self.transformation, 'name', self.transformation)!r} is no purification",
                fix="give a purification, or write score-change:NAME",
            )

    @property
    def name(self) -> str:
        """`score-change:jpeg`."""
        return f"score-change:{self.transformation.name}"

    @property
    def stochastic(self) -> bool:
        """The transformation is."""
        return self.transformation.stochastic

    def suspicion(
        self, metric: Metric, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None
    ) -> Tensor:
        """(N, 3, H, W) to (N,), in units of diam; 0 where the transformation changes nothing."""
        scores = metric.evaluate(images, streams=streams, reference=reference)
        again = self.transformation.protect(metric).forward(images, streams=streams, reference=reference)
        return (scores - again).abs() / metric.spec.diam


def under(transformation: str, **parameters: Any) -> ScoreChange:
    """The detector `score-change:transformation`; parameters are the transformation's."""
    purification = defenses.create(transformation, **parameters)
    return ScoreChange(transformation=purification)  # type: ignore[arg-type] # checked there
