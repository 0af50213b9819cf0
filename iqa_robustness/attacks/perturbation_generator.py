"""The U-Net that makes a perturbation for an image."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

_LEAK, _DROPPED, _DROPOUT_LAYERS = 0.2, 0.5, 3
# The deepest layers of the published network are this many times as wide as its first.
_WIDEST = 8


class PerturbationGenerator(nn.Module):
    """U-Net of 4 × 4 convolutions with stride 2, skip connections, and normalisation of each image's own channels.

    Images: (N, 3, H, W) float32 RGB in [0, 1], H and W multiples of 2^levels. Returns (N, 3, H, W) in (−1, 1).

    Source: Isola et al., CVPR 2017, as in FACPA (benchmark section 3.2): leaky ReLU 0.2 down, ReLU up, no normalisation
    at the first and the deepest layer, tanh; width 64 and eight levels there. It reads intensities without centring.

    Args:
        width: channels of the first layer; they double at each level, up to eight times.
        levels: halvings of height and width.
    """

    def __init__(self, *, width: int, levels: int) -> None:
        super().__init__()
        channels = [3, *(width * min(2**level, _WIDEST) for level in range(levels))]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(channels))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[level + 1] * (1 if level + 1 == levels else 2), channels[level], 4, 2, 1)
            for level in reversed(range(levels))
        )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> PerturbationGenerator:
        """A generator with these tensors; width and levels follow from their shapes."""
        levels = sum(name.startswith("down.") and name.endswith(".weight") for name in tensors)
        with torch.device("meta"):  # initial values would be drawn, and thrown away
            made = cls(width=len(tensors["down.0.weight"]), levels=levels)
        made.load_state_dict(dict(tensors), assign=True)
        return made.eval().requires_grad_(False)

    def forward(self, images: Tensor, *, dropout: Generator | None = None) -> Tensor:
        """(N, 3, H, W) to the same shape; `dropout` switches dropout on and draws it."""
        features, skipped = images, []
        for level, layer in enumerate(self.down):
            features = layer(F.leaky_relu(features, _LEAK) if level else features)
            if 0 < level < len(self.down) - 1:
                features = F.instance_norm(features)
            skipped.append(features)
        features = skipped.pop()
        for number, layer in enumerate(self.up):
            features = layer(F.relu(features))
            if skipped:
                features = F.instance_norm(features)
                if dropout is not None and number < _DROPOUT_LAYERS:
                    kept = torch.rand(features.shape, generator=dropout).to(features.device) >= _DROPPED
                    features = features * kept / (1 - _DROPPED)
                features = torch.cat([features, skipped.pop()], dim=1)
        return features.tanh()
