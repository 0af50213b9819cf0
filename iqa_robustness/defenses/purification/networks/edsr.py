"""EDSR: residual blocks without normalisation; here the encoder of features at the image's own resolution."""

from __future__ import annotations

from torch import Tensor, nn

CHANNELS = 64


class ResidualBlock(nn.Module):
    """Two convolutions with a connection around them. (N, 64, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(CHANNELS), nn.ReLU(), _conv(CHANNELS))

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, H, W) to the same shape."""
        changed: Tensor = self.body(features)
        return features + changed


class EDSR(nn.Module):
    """EDSR-baseline without upsampling: 16 blocks, 64 channels, 1.2 M weights.

    Source: Lim et al., CVPRW 2017, in the layout of yinboc/liif and chihhuiho/disco. Their checkpoints also hold a
    shift of the mean for either end (`sub_mean`, `add_mean`), which DISCO does not apply.
    Images: (N, 3, H, W) in [−1, 1] to features (N, 64, H, W).
    Cost: 239 G multiply-adds for 384 × 512.

    Args:
        blocks: residual blocks.
    """

    def __init__(self, *, blocks: int = 16) -> None:
        super().__init__()
        self.sub_mean = nn.Conv2d(3, 3, 1)
        self.add_mean = nn.Conv2d(3, 3, 1)
        self.head = nn.Sequential(_conv(3))
        self.body = nn.Sequential(*(ResidualBlock() for _ in range(blocks)), _conv(CHANNELS))

    @property
    def reach(self) -> int:
        """How many input pixels away a feature sees: two a block, and the first and the last convolution."""
        return 2 * len(self.body)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 64, H, W)."""
        shallow: Tensor = self.head(images)
        deep: Tensor = self.body(shallow)
        return shallow + deep


def _conv(incoming: int) -> nn.Conv2d:
    return nn.Conv2d(incoming, CHANNELS, 3, padding=1)
