"""FCN: the three-layer filter that undoes an attack on colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FCN(nn.Module):
    """Three 3×3 convolutions (64, 16 and 3 channels) with leaky ReLUs, one instance normalisation, and tanh.

    Source: Gushchin et al. 2024 (arXiv 2404.06957, wianluna/adversarial_purification), 11 k weights. The
    normalisation has no weights of its own; it takes mean and variance of the image's 16 feature maps.
    Images: (N, 3, H, W) in [0, 1] to (N, 3, H, W) in (−1, 1).
    Cost: 2.3 G multiply-adds for 384 × 512.
    """

    reach = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        features = F.leaky_relu(self.conv1(images), 0.2)
        features = F.leaky_relu(F.instance_norm(self.conv2(features)), 0.2)
        return torch.tanh(self.conv3(features))
