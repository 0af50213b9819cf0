"""RRDBNet: ESRGAN's generator of residual dense blocks within residual blocks, enlarging four times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 64
GROWTH = 32
# Branches are added at a fifth of their strength.
DAMPING = 0.2


class DenseBlock(nn.Module):
    """Five 3×3 convolutions, each seeing the block's input and all results before it. (N, 64, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        widths = [CHANNELS + before * GROWTH for before in range(5)]
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(width, GROWTH, 3, padding=1) for width in widths[:-1]
        )
        self.conv5 = nn.Conv2d(widths[-1], CHANNELS, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, H, W) to the same shape."""
        seen = features
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, _leaky(layer(seen))], dim=1)
        changed: Tensor = self.conv5(seen)
        return features + DAMPING * changed


class ResidualBlock(nn.Module):
    """Three dense blocks with a connection around them. (N, 64, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = DenseBlock(), DenseBlock(), DenseBlock()

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, H, W) to the same shape."""
        changed: Tensor = self.rdb3(self.rdb2(self.rdb1(features)))
        return features + DAMPING * changed


class RRDBNet(nn.Module):
    """Residual-in-residual dense blocks at the low resolution, then two nearest-neighbour enlargements by two.

    Source: Wang et al., ECCVW 2018 (ESRGAN) and ICCVW 2021 (Real-ESRGAN), `RealESRGAN_x4plus`, 16.7 M weights.
    Images: (N, 3, H, W) in [0, 1] to (N, 3, 4H, 4W), not clamped.
    Cost: 3.6 T multiply-adds for 384 × 512.

    Args:
        blocks: residual blocks; 23 in `x4plus`.
    """

    scale = 4

    def __init__(self, *, blocks: int = 23) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock() for _ in range(blocks)))
        self.conv_body = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv_up1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv_up2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv_hr = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv_last = nn.Conv2d(CHANNELS, 3, 3, padding=1)

    @property
    def reach(self) -> int:
        """How many input pixels away an output pixel sees: 15 a block, 2 around them, less than 2 after enlarging."""
        return 15 * len(self.body) + 4

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, 4H, 4W)."""
        shallow = self.conv_first(images)
        features = shallow + self.conv_body(self.body(shallow))
        for layer in (self.conv_up1, self.conv_up2):
            features = _leaky(layer(F.interpolate(features, scale_factor=2, mode="nearest")))
        restored: Tensor = self.conv_last(_leaky(self.conv_hr(features)))
        return restored


def _leaky(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.2)
