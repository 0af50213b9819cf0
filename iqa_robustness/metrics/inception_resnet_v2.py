"""Inception-ResNet-v2 without its classifier, in the key layout that KonCept512 was saved in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 1536


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation (epsilon 0.001), ReLU."""

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(incoming, outgoing, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outgoing, eps=0.001)

    def forward(self, features: Tensor) -> Tensor:
        """(N, incoming, h, w) to (N, outgoing, h', w')."""
        return F.relu(self.bn(self.conv(features)))


class Branches(nn.Module):
    """Branches over one input, concatenated; the keys are `branch0`, `branch1` …"""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.count = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, sum of the branches' channels, h', w')."""
        return torch.cat([self.get_submodule(f"branch{number}")(features) for number in range(self.count)], dim=1)


class ResidualBranches(Branches):
    """Branches, a 1 × 1 convolution `conv2d` of their result back to the input's channels, and a scaled sum.

    scale: factor of the branches' share.
    last: no ReLU after the sum.
    """

    def __init__(self, *branches: nn.Module, joined: int, channels: int, scale: float, last: bool = False) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(joined, channels, 1)
        self.scale = scale
        self.last = last

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, h, w) to the same shape."""
        total = self.conv2d(super().forward(features)) * self.scale + features
        return total if self.last else F.relu(total)


def mixed_5b() -> Branches:
    """192 to 320 channels at 1/8 of the size."""
    return Branches(
        Convolution(192, 96, 1),
        nn.Sequential(Convolution(192, 48, 1), Convolution(48, 64, 5, padding=2)),
        nn.Sequential(Convolution(192, 64, 1), Convolution(64, 96, 3, padding=1), Convolution(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), Convolution(192, 64, 1)),
    )


def block_35() -> ResidualBranches:
    """320 channels."""
    return ResidualBranches(
        Convolution(320, 32, 1),
        nn.Sequential(Convolution(320, 32, 1), Convolution(32, 32, 3, padding=1)),
        nn.Sequential(Convolution(320, 32, 1), Convolution(32, 48, 3, padding=1), Convolution(48, 64, 3, padding=1)),
        joined=128,
        channels=320,
        scale=0.17,
    )


def mixed_6a() -> Branches:
    """320 to 1088 channels, half the size."""
    return Branches(
        Convolution(320, 384, 3, stride=2),
        nn.Sequential(
            Convolution(320, 256, 1), Convolution(256, 256, 3, padding=1), Convolution(256, 384, 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def block_17() -> ResidualBranches:
    """1088 channels."""
    return ResidualBranches(
        Convolution(1088, 192, 1),
        nn.Sequential(
            Convolution(1088, 128, 1),
            Convolution(128, 160, (1, 7), padding=(0, 3)),
            Convolution(160, 192, (7, 1), padding=(3, 0)),
        ),
        joined=384,
        channels=1088,
        scale=0.10,
    )


def mixed_7a() -> Branches:
    """1088 to 2080 channels, half the size."""
    return Branches(
        nn.Sequential(Convolution(1088, 256, 1), Convolution(256, 384, 3, stride=2)),
        nn.Sequential(Convolution(1088, 256, 1), Convolution(256, 288, 3, stride=2)),
        nn.Sequential(
            Convolution(1088, 256, 1), Convolution(256, 288, 3, padding=1), Convolution(288, 320, 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def block_8(*, scale: float = 0.20, last: bool = False) -> ResidualBranches:
    """2080 channels."""
    return ResidualBranches(
        Convolution(2080, 192, 1),
        nn.Sequential(
            Convolution(2080, 192, 1),
            Convolution(192, 224, (1, 3), padding=(0, 1)),
            Convolution(224, 256, (3, 1), padding=(1, 0)),
        ),
        joined=448,
        channels=2080,
        scale=scale,
        last=last,
    )


def inception_resnet_v2() -> nn.Sequential:
    """The feature layers as sixteen numbered children, the last an 8 × 8 average pool.

    Images: (N, 3, H, W) in [−1, 1], H, W ≥ 299. Returns (N, 1536, h, w); h = w = 1 for 299 × 299 and for 384 × 512.

    Source: Szegedy et al., AAAI 2017 (https://arxiv.org/abs/1602.07261); layout of the PyTorch port by R. Cadene.
    """
    return nn.Sequential(
        Convolution(3, 32, 3, stride=2),
        Convolution(32, 32, 3),
        Convolution(32, 64, 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        Convolution(64, 80, 1),
        Convolution(80, 192, 3),
        nn.MaxPool2d(3, stride=2),
        mixed_5b(),
        nn.Sequential(*(block_35() for _ in range(10))),
        mixed_6a(),
        nn.Sequential(*(block_17() for _ in range(20))),
        mixed_7a(),
        nn.Sequential(*(block_8() for _ in range(9))),
        block_8(scale=1.0, last=True),
        Convolution(2080, CHANNELS, 1),
        nn.AvgPool2d(8, count_include_pad=False),
    )
