"""The contract of an image-quality metric and the facts it declares about itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.streams import Streams

Access = Literal["white-box", "query-only"]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """One file of weights: its name, SHA-256 (hex), and where it comes from."""

    name: str
    sha256: str
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """What a metric is, as its author states it; what can be measured is checked by `metrics.probe`.

    name: as in the registry, or `package.module:Class`.
    score_range: worst-to-best or best-to-worst, always (low, high) in score units; its width normalises every shift
        (diam). It is frozen with the metric and never fitted on the images being judged.
    higher_is_better: the direction of the scale.
    version: raised whenever scores change; part of every store key.
    stochastic: `forward` takes `streams=` and draws from them.
    full_reference: `forward` takes `reference=`, what each image is compared with.
    access: `query-only` for metrics without gradients (other programs, other frameworks).
    input_policy: what the metric does with sizes other than its own, in one sentence.
    """

    name: str
    score_range: tuple[float, float]
    higher_is_better: bool = True
    version: str = "1"
    stochastic: bool = False
    full_reference: bool = False
    access: Access = "white-box"
    input_policy: str = "any size, no resizing"
    licence: str = ""
    paper: str = ""
    weights: tuple[WeightsFile, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.score_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigurationError(
                f"metric {self.name!r} declares the score range ({low}, {high})",
                fix="declare finite (low, high) with low < high, in score units; direction goes into higher_is_better",
            )

    @property
    def diam(self) -> float:
        """Width of the score range, in score units."""
        return self.score_range[1] - self.score_range[0]

    @property
    def sign(self) -> int:
        """+1 when a higher score is better, −1 otherwise."""
        return 1 if self.higher_is_better else -1


class Metric(nn.Module):
    """An image-quality metric: `forward(images) -> scores`.

    A subclass sets `spec` and defines `forward`. Images are (N, 3, H, W) float32 RGB in [0, 1]; the result is (N,),
    one score an image in score units. An image's score may not depend on its companions in the batch.
    A stochastic metric's `forward` also takes `streams=` (`iqa_robustness.streams.Streams`, one generator an image), a
    full-reference metric's `reference=`, (N, 3, H, W): the undistorted picture of each image, or the image that the
    attack starts from where the data set has none.
    """

    spec: MetricSpec

    def evaluate(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """Call the metric with what its spec says it takes. Raises ConfigurationError without a needed reference."""
        arguments: dict[str, Any] = {"streams": streams} if self.spec.stochastic else {}
        if self.spec.full_reference:
            if reference is None:
                raise ConfigurationError(
                    "the metric compares with a reference, and none was given",
                    where=Where(metric=self.spec.name),
                    fix="pass reference= (to a Scorer references=), one picture an image",
                )
            arguments["reference"] = reference
        scores: Tensor = self(images, **arguments)
        return scores
