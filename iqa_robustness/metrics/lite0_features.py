"""`lite0-features`: how far apart two images are in the activations of EfficientNet-Lite0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iqa_robustness.metrics.lite0 import load_backbone
from iqa_robustness.metrics.preparation import refuse_smaller

# One block at 1/4, one at 1/8 and two at 1/16 of the size; what lies behind them is not run.
BLOCKS = range(1, 8, 2)
# Keeps the direction of a place without any activation defined.
_EPSILON = 1e-8


class Lite0Features(nn.Module):
    """A full-reference distance without learned weights of its own; it is neither LPIPS nor DISTS.

    The activations of four blocks are scaled to unit length over the channels at every place; the distance is the mean
    over the blocks of the mean over space of their squared differences: 0 for equal images, at most 2 (activations are
    not negative). Symmetric, differentiable, with a gradient of zero at equal images.

    Source: the form is that of Zhang et al., CVPR 2018, eq. 1 (LPIPS) with all channel weights 1, as its "baseline"
    networks have them; the backbone is `lite0`'s, trained on ImageNet.
    Images: (N, 3, H, W) float32 RGB in [0, 1] twice, any H, W ≥ 32.
    Cost: two fifths of a pass of the backbone for each of the two images, 0.15 G multiply-adds for 224 × 224.
    Raises: WeightsError when the backbone's file is not the expected one, ImageContractError for smaller images.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = load_backbone()

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """(N, 3, H, W) twice to (N,)."""
        refuse_smaller(images, "lite0-features")
        parts = [
            (one - other).square().sum(dim=1).mean(dim=(1, 2))
            for one, other in zip(self._directions(images), self._directions(references), strict=True)
        ]
        return torch.stack(parts).mean(dim=0)

    def _directions(self, images: Tensor) -> list[Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        maps = self.backbone.depthwise(images, BLOCKS)
        return [features / (features.square().sum(dim=1, keepdim=True) + _EPSILON).sqrt() for features in maps]
