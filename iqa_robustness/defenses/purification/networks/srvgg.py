"""SRVGGNetCompact: Real-ESRGAN's small network, which stays at the low resolution until its last layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 64


class SRVGGNetCompact(nn.Module):
    """A chain of 3×3 convolutions and PReLUs on top of nearest-neighbour enlargement.

    Source: Wang et al., ICCVW 2021 (xinntao/Real-ESRGAN), `realesr-general-x4v3` and `realesr-animevideov3`.
    Images: (N, 3, H, W) in [0, 1] to (N, 3, scale · H, scale · W), not clamped.
    Cost: 237 G multiply-adds for 384 × 512 with 32 convolutions, 125 G with 16.

    Args:
        convolutions: between the first and the last one: 32 (`general-x4v3`, 1.2 M weights) or 16 (`animevideov3`).
        scale: of the result.
    """

    def __init__(self, *, convolutions: int, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.PReLU(CHANNELS)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.PReLU(CHANNELS)]
        self.body = nn.Sequential(*layers, nn.Conv2d(CHANNELS, 3 * scale**2, 3, padding=1))

    @property
    def reach(self) -> int:
        """How many input pixels away an output pixel sees: one for each convolution."""
        return sum(isinstance(layer, nn.Conv2d) for layer in self.body)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, scale · H, scale · W)."""
        details = F.pixel_shuffle(self.body(images), self.scale)
        return details + F.interpolate(images, scale_factor=self.scale, mode="nearest")
