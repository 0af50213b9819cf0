"""`maniqa`: MANIQA, vision transformer features under channel and window attention, trained on KonIQ-10k."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from iqa_robustness.metrics.backbones import timm_model
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import HALF, enlarged, normalised, refuse_smaller, resized
from iqa_robustness.metrics.scaled_swin import ScaledSwin

SIDE = 224
GRID = SIDE // 8
CHANNELS = 768
# Transformer blocks whose outputs are judged, counted from zero.
BLOCKS = range(6, 10)
SCALE = 0.8
# The number of crops and the seed of `predict_one_image.py` in the authors' repository.
CROPS = 20
SEED = 20


class TransposedAttention(nn.Module):
    """Attention among channels: each channel is a token of 784 places.

    The result is transposed and then read in the old shape, which mixes places and channels; the weights were trained
    with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.c_q, self.c_k, self.c_v = (nn.Linear(GRID**2, GRID**2) for _ in range(3))

    def forward(self, channels: Tensor) -> Tensor:
        """(N, C, 784) to the same."""
        attention = self.c_q(channels) @ self.c_k(channels).transpose(1, 2) * GRID**-1.0
        mixed = (attention.softmax(dim=-1) @ self.c_v(channels)).transpose(1, 2)
        result: Tensor = mixed.reshape(channels.shape) + channels
        return result


class Maniqa224(nn.Module):
    """The network, in the key layout of ckpt_koniq10k.pt.

    Images: (N, 3, 224, 224) in [−1, 1]. Returns (N,): mean of 784 places' scores, weighted by the second head.
    """

    def __init__(self) -> None:
        super().__init__()
        # Its own random start takes as long as everything else here, and is replaced by the file.
        self.vit = timm_model("vit_base_patch8_224", metric="maniqa", weight_init="skip")
        self.tablock1 = nn.ModuleList(TransposedAttention() for _ in range(2))
        self.conv1 = nn.Conv2d(CHANNELS * len(BLOCKS), CHANNELS, 1)
        self.swintransformer1 = ScaledSwin(CHANNELS, side=GRID, hidden=CHANNELS, scale=SCALE)
        self.tablock2 = nn.ModuleList(TransposedAttention() for _ in range(2))
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS // 2, 1)
        self.swintransformer2 = ScaledSwin(CHANNELS // 2, side=GRID, hidden=CHANNELS, scale=SCALE)
        self.fc_score = self._head(nn.ReLU())
        self.fc_weight = self._head(nn.Sigmoid())

    @staticmethod
    def _head(last: nn.Module) -> nn.Sequential:
        half = CHANNELS // 2
        return nn.Sequential(nn.Linear(half, half), nn.ReLU(), nn.Dropout(0.1), nn.Linear(half, 1), last)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) to (N, 3072, 784): the judged blocks' tokens without the class token, channels first."""
        vit = self.vit
        tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))  # type: ignore[operator]
        judged = []
        # The last two blocks change nothing that is judged.
        for number, block in enumerate(vit.blocks[: BLOCKS.stop]):  # type: ignore[index]
            tokens = block(tokens)
            if number in BLOCKS:
                judged.append(tokens[:, 1:])
        return torch.cat(judged, dim=2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) to (N,)."""
        channels = self.features(images)
        for block in self.tablock1:
            channels = block(channels)
        maps = self.swintransformer1(self.conv1(channels.unflatten(2, (GRID, GRID))))
        channels = maps.flatten(2)
        for block in self.tablock2:
            channels = block(channels)
        maps = self.swintransformer2(self.conv2(channels.unflatten(2, (GRID, GRID))))
        places = maps.flatten(2).transpose(1, 2)
        weights = self.fc_weight(places).squeeze(2)
        scores: Tensor = (self.fc_score(places).squeeze(2) * weights).sum(dim=1) / weights.sum(dim=1)
        return scores


def crop_corners(height: int, width: int, count: int) -> list[tuple[int, int]]:
    """Top and left of `count` random 224 × 224 crops: the same for every image of one size.

    They are those of the authors' script, drawn as it draws them (the largest corner excluded; zero where an axis is
    exactly 224 long and the script fails).
    """
    random = np.random.RandomState(SEED)
    return [
        (int(random.randint(0, max(height - SIDE, 1))), int(random.randint(0, max(width - SIDE, 1))))
        for _ in range(count)
    ]


class Maniqa(Metric):
    """No-reference metric MANIQA: the mean score of twenty crops of 224 × 224, 0 to 1, higher is better.

    Source: Yang et al., CVPRW 2022 (IIGROUP/MANIQA, predict_one_image.py): twenty random crops under seed 20; the same
    seed here for every image, so the metric is deterministic. The benchmark's code scales the whole image to 224 × 224
    without antialiasing (`paper=True`). pyiqa takes a regular grid of crops and weights over all of them at once.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32; a shorter side under 224 is enlarged to 224.
    Cost: 20 × 138 G multiply-adds an image (`paper=True`: 1 ×); with gradients each crop is computed a second time, so
    that memory does not grow with their number.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: ckpt_koniq10k.pt; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(Maniqa224, "maniqa", weights)
        self.paper = paper
        self.spec = MetricSpec(
            name="maniqa",
            score_range=(0.0, 1.0),
            version="1-paper" if paper else "1",
            input_policy=f"scaled to {SIDE} x {SIDE}, aspect not kept"
            if paper
            else f"{CROPS} crops of {SIDE} x {SIDE}, the shorter side enlarged to {SIDE} where it is shorter",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/2204.08958",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "maniqa")
        if self.paper:
            scores: Tensor = self.network(normalised(resized(images, (SIDE, SIDE), antialias=False), HALF))
            return scores
        images = normalised(enlarged(images, SIDE), HALF)
        height, width = images.shape[2:]
        crops = [
            self._crop_score(images[:, :, top : top + SIDE, left : left + SIDE])
            for top, left in crop_corners(height, width, CROPS)
        ]
        return torch.stack(crops).mean(dim=0)

    def _crop_score(self, crops: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and crops.requires_grad):
            scores: Tensor = self.network(crops)
            return scores
        again: Tensor = checkpoint(self.network, crops, use_reentrant=False)
        return again
