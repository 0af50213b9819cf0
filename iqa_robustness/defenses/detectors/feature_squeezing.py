"""Feature squeezing: take room away from a perturbation in several ways, and see whether the score holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.detectors.base import Detector
from iqa_robustness.defenses.purification.color_quantization import ColorQuantization
from iqa_robustness.defenses.purification.median_blur import MedianBlur
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class FeatureSqueezing(Detector):
    """The largest of |f(x) − f(S(x))| / diam over two squeezers S: fewer bits a channel, and a median blur.

    Source: Xu, Evans, Qi, NDSS 2018 (joint detection, section V), with 5 bits as there for photographs. Its median
    window has 2 x 2 pixels, which moves the image by half of one; here it is odd. Its third squeezer, non-local means,
    is left out. A score takes the place of the l1 distance of two predictions.
    bits: of each channel, 1 to 7.
    kernel_size: side of the median's window in pixels, odd.
    Cost: 3 forwards and a median blur an image.
    Raises: ConfigurationError for other bits or another kernel size, or an image that the window does not fit on.
    """

    name: ClassVar[str] = "feature-squeezing"
    version: ClassVar[int] = 1
    forwards: ClassVar[int] = 3

    bits: int = 5
    kernel_size: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 7:
            raise ConfigurationError(f"feature-squeezing keeps 1 to 7 bits of a channel, got {self.bits}")
        _ = self.squeezers

    @property
    def squeezers(self) -> tuple[Purification, ...]:
        """What is done to the image."""
        return ColorQuantization(levels=2**self.bits), MedianBlur(kernel_size=self.kernel_size)

    def suspicion(
        self, metric: Metric, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None
    ) -> Tensor:
        """(N, 3, H, W) to (N,), in units of diam."""
        scores = metric.evaluate(images, streams=streams, reference=reference)
        changes = [
            scores - squeezer.protect(metric).forward(images, streams=streams, reference=reference)
            for squeezer in self.squeezers
        ]
        return torch.stack(changes).abs().amax(dim=0) / metric.spec.diam
