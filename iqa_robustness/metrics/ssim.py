"""SSIM as a full-reference metric."""

from __future__ import annotations

from torch import Tensor

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.preparation import refuse_smaller
from iqa_robustness.similarity import ssim


class Ssim(Metric):
    """Structural similarity to the reference, 1 for equal images; see `similarity.ssim`.

    Source: Wang et al., IEEE TIP 2004, with the 7 × 7 uniform window of scikit-image, on RGB.
    Images: (N, 3, H, W) float32 RGB in [0, 1], from 32 × 32 pixels; `reference` of the same shape.
    Raises: ImageContractError for smaller images.
    """

    spec = MetricSpec(
        name="ssim",
        score_range=(0.0, 1.0),
        full_reference=True,
        input_policy="any size from 32 x 32, no resizing",
        licence="Apache-2.0",
        paper="https://doi.org/10.1109/TIP.2003.819861",
    )

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        """(N, 3, H, W) twice to (N,)."""
        refuse_smaller(images, "ssim")
        return ssim(images, reference)
