"""Metrics whose robustness is known by construction: the harness is tried on them before it judges anyone.

None of them measures quality; they are not registered, and are named by `iqa_robustness.metrics.planted:Class`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.metrics.base import Metric, MetricSpec

_LUMA = (0.299, 0.587, 0.114)
# A change of 4/255 in the worst direction moves the vulnerable score by half its range.
_OPTIMAL_SHARE, _AT_EPSILON = 0.5, 4 / 255
_BLOCKS_DOWN, _BLOCKS_ACROSS = 6, 8


class Vulnerable(Metric):
    """A linear score with a checkered weight: every attack that works at all moves it far.

    f(x) = 50 + 100 · slope · mean(w ⊙ (x − ½)) with w = ±1 on a 6 × 8 grid of blocks; the optimal shift under an l∞
    budget ε is slope · ε of the range, exactly. Where an attack does not move it, the attack is broken.
    """

    spec = MetricSpec(
        name="planted-vulnerable", score_range=(0.0, 100.0), input_policy="any size of at least 8 × 8 pixels"
    )
    slope = _OPTIMAL_SHARE / _AT_EPSILON
    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        signs = np.random.RandomState(14).randint(0, 2, (1, 3, _BLOCKS_DOWN, _BLOCKS_ACROSS)) * 2 - 1
        self.register_buffer("signs", torch.from_numpy(signs.astype(np.float32)))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        weights = F.interpolate(self.signs, size=images.shape[-2:], mode="nearest").to(images.dtype)
        return 50 + 100 * self.slope * ((images - 0.5) * weights).mean(dim=(1, 2, 3))


class VulnerableToPixels(Vulnerable):
    """The same checkered weight, summed instead of averaged: one pixel moves the score, whatever the image's size.

    f(x) = 50 + 100 · slope · sum(w ⊙ (x − ½)): a pixel that goes from black to white, or back, in the channels' own
    directions moves it by up to 3 · slope of the range. It proves attacks that may change a few pixels only.
    """

    spec = MetricSpec(
        name="planted-vulnerable-to-pixels",
        score_range=(0.0, 100.0),
        input_policy="any size of at least 8 × 8 pixels",
    )
    slope = 0.02

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        # In float64: the sum runs over a hundred thousand values, and a pixel has to show in it.
        return ((super().forward(images.double()) - 50) * images[0].numel() + 50).to(images.dtype)


class Robust(Metric):
    """The RMS contrast of luma, in per cent of the largest there is: a perturbation moves it by no more than its own.

    f(x) = 100 · std(luma) / 0.5: Lipschitz with constant 200 in l∞, so that 8/255 moves it by 6.3 points at most,
    10.5 % of its range. It ranks the `ladder` data set, whose scores are contrasts, perfectly.
    """

    spec = MetricSpec(name="planted-robust", score_range=(0.0, 60.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        weights = torch.tensor(_LUMA, device=images.device)[:, None, None]
        luma = (images * weights).sum(dim=1)
        # The constant keeps the slope of the root finite on a flat image.
        return 200 * (luma.var(dim=(1, 2), correction=0) + 1e-12).sqrt()


class Constant(Metric):
    """Degenerate: one score for everything."""

    spec = MetricSpec(name="planted-constant", score_range=(0.0, 100.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,), 50 each."""
        return images.new_full((len(images),), 50.0)


class Rounded(Robust):
    """Degenerate: a score in five steps, so that no small change shows."""

    spec = MetricSpec(name="planted-rounded", score_range=(0.0, 60.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        return (super().forward(images) / 12).round() * 12


class Clamped(Robust):
    """Degenerate: the score is cut off below most images, so that it cannot be raised."""

    spec = MetricSpec(name="planted-clamped", score_range=(0.0, 60.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        return super().forward(images).clamp(max=10.0)


class MaskedGradient(Vulnerable):
    """Degenerate: the vulnerable score, computed outside the graph, so that gradients are zero."""

    spec = MetricSpec(name="planted-masked", score_range=(0.0, 100.0))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        return super().forward(images.detach()) + 0 * images.mean(dim=(1, 2, 3))
