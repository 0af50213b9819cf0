"""PSNR as a full-reference metric."""

from __future__ import annotations

from torch import Tensor

from iqa_robustness.metrics.base import Metric, MetricSpec

# Mean squared error that is added, so that equal images score 60 dB instead of infinity; one level of 255 costs 1.5e-5.
_FLOOR = 1e-6


class Psnr(Metric):
    """Peak signal-to-noise ratio to the reference in dB, for a peak of 1: −10 log₁₀(MSE + 10⁻⁶), at most 60.

    Images: (N, 3, H, W) float32 RGB in [0, 1], any size; `reference` of the same shape.
    """

    spec = MetricSpec(
        name="psnr",
        score_range=(0.0, 60.0),
        full_reference=True,
        input_policy="any size, no resizing",
        licence="Apache-2.0",
    )

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        """(N, 3, H, W) twice to (N,)."""
        error = (images - reference).double().square().mean(dim=(1, 2, 3))
        return (-10 * (error + _FLOOR).log10()).float()
