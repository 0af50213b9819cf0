"""FFDNet: a denoiser told the noise level, fast because it works on four half-size sub-images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks.dncnn import chain, with_level

WIDTH = 96
DEPTH = 12


class FFDNet(nn.Module):
    """Twelve convolutions over sub-images and a map of the noise level; it predicts the clean image.

    Source: Zhang, Zuo and Zhang, IEEE TIP 2018 (cszn/FFDNet), `FFDNet_color`, σ from 0 to 75/255; 0.85 M weights.
    Images: (N, 3, H, W) in [0, 1], with noise beyond that, to the same shape, not clamped; an odd side is lengthened by
    its last row or column, as the authors do.
    Cost: 42 G multiply-adds for 384 × 512.
    """

    stride = 2
    reach = stride * DEPTH + 1

    def __init__(self) -> None:
        super().__init__()
        self.model = chain(3 * 4 + 1, 3 * 4, width=WIDTH, depth=DEPTH)

    def forward(self, images: Tensor, sigma: float | Tensor) -> Tensor:
        """(N, 3, H, W) and the standard deviation of the noise in units of 1, one or (N,), to (N, 3, H, W)."""
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        parts: Tensor = self.model(with_level(F.pixel_unshuffle(even, 2), sigma))
        return F.pixel_shuffle(parts, 2)[:, :, :height, :width]


def from_columns(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights trained on MATLAB's sub-images (down the columns first) for `pixel_unshuffle`'s (along the rows first).

    In: the chain's state, its first convolution's input and its last one's output in MATLAB's order.
    """
    order = torch.arange(12).view(3, 2, 2).transpose(1, 2).flatten()
    first, last = "0.weight", f"{2 * (DEPTH - 1)}"
    return {
        **weights,
        first: weights[first][:, [*order.tolist(), 12]],
        f"{last}.weight": weights[f"{last}.weight"][order],
        f"{last}.bias": weights[f"{last}.bias"][order],
    }
