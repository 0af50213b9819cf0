"""`paq2piq`: PaQ-2-PiQ, ResNet-18 with a RoI-pooled head, scoring the whole image."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics.backbones import torchvision_model
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import refuse_smaller

STRIDE = 32
BINS = 2


class ConcatPool(nn.Module):
    """Maximum and mean over space, one after the other: (N, C, h, w) to (N, 2 C, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool."""
        return torch.cat([F.adaptive_max_pool2d(features, 1), F.adaptive_avg_pool2d(features, 1)], dim=1)


def roi_bins(pixels: int, cells: int) -> list[tuple[int, int]]:
    """Which cells of a feature map's axis each bin of a region over the whole image covers, as (begin, end).

    The region ends, as in Fast R-CNN, one cell after pixels / 32 rounded half up: bins overlap, and one may be empty.
    """
    width = max(math.floor(pixels / STRIDE + 0.5) + 1, 1) / BINS
    return [
        (min(math.floor(number * width), cells), min(math.ceil((number + 1) * width), cells)) for number in range(BINS)
    ]


def pooled_whole(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Maximum over each of 2 × 2 bins of the whole image, as RoIPool pools it; empty bins give zero.

    features: (N, C, h, w).   size: (H, W) of the images in pixels.   Returns (N, C, 2, 2).
    """
    rows, columns = (roi_bins(pixels, cells) for pixels, cells in zip(size, features.shape[2:], strict=True))
    bins = [
        F.adaptive_max_pool2d(features[:, :, top:bottom, left:right], 1)
        if bottom > top and right > left
        else features.new_zeros((*features.shape[:2], 1, 1))
        for top, bottom in rows
        for left, right in columns
    ]
    return torch.cat(bins, dim=3).view(*features.shape[:2], BINS, BINS)


class Paq2PiqNetwork(nn.Module):
    """ResNet-18 without its head (`body`), RoI pooling to 2 × 2, and `head`, in the key layout of the published file.

    Images: (N, 3, H, W) in [0, 1]; no mean is subtracted. Returns (N,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*[*torchvision_model("resnet18", metric="paq2piq").children()][:-2])
        self.head = nn.Sequential(
            ConcatPool(),
            nn.Flatten(),
            nn.BatchNorm1d(1024),
            nn.Dropout(0.25),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.BatchNorm1d(512),
            nn.Dropout(0.5),
            nn.Linear(512, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        height, width = images.shape[2:]
        scores: Tensor = self.head(pooled_whole(self.body(images), (height, width)))
        return scores.squeeze(1)


class Paq2Piq(Metric):
    """No-reference metric PaQ-2-PiQ: its score of the whole image as one region, higher is better.

    Source: Ying et al., CVPR 2020 (baidut/paq2piq; weights as pyiqa distributes them, whose wrapper the benchmark
    calls). The authors' demo also scores 20 × 20 blocks, which do not change the score of the whole.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32, not scaled.   Scores: about 0 to 100, unclamped.
    Cost: 36 k multiply-adds a pixel.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: P2P_RoIPoolModel-fit.10.bs.120-ca69882e.pth, or the authors' RoIPoolModel-fit.10.bs.120.pth; None
            looks in `weights.folder()`.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.network, file = load_published(Paq2PiqNetwork, "paq2piq", weights)
        self.spec = MetricSpec(
            name="paq2piq",
            score_range=(58.3803939819336, 84.1711196899414),
            input_policy="any size from 32 x 32, no resizing",
            licence="MIT",
            paper="https://arxiv.org/abs/1912.10088",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "paq2piq")
        scores: Tensor = self.network(images)
        return scores
