"""DnCNN: plain chains of convolutions that remove Gaussian noise, blind or told its level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 64
DEPTH = 20


def chain(incoming: int, outgoing: int, *, width: int, depth: int) -> nn.Sequential:
    """`depth` 3×3 convolutions with ReLUs between them; batch normalisations are merged into published weights."""
    layers: list[nn.Module] = [nn.Conv2d(incoming, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, outgoing, 3, padding=1))


def with_level(images: Tensor, sigma: float | Tensor) -> Tensor:
    """The images and one more channel that holds the noise level: one number, or (N,) of them, in units of 1."""
    level = torch.as_tensor(sigma, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)
    return torch.cat([images, level.expand(len(images), 1, *images.shape[2:])], dim=1)


class DnCNN(nn.Module):
    """CDnCNN-B: predicts the noise of a colour image, whatever its level, and takes it away.

    Source: Zhang et al., IEEE TIP 2017 (cszn/DnCNN), `GD_Color_Blind`, trained for σ up to 55/255; 0.67 M weights.
    Images: (N, 3, H, W) in [0, 1], with noise beyond that, to the same shape, not clamped.
    Cost: 131 G multiply-adds for 384 × 512.
    """

    reach = DEPTH

    def __init__(self) -> None:
        super().__init__()
        self.model = chain(3, 3, width=WIDTH, depth=DEPTH)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        noise: Tensor = self.model(images)
        return images - noise


class FDnCNN(nn.Module):
    """FDnCNN: the same chain, told the noise level in a fourth channel; it predicts the clean image.

    Source: Zhang et al. (cszn/DnCNN), `FDnCNN_color`, trained for σ from 0 to 75/255; 0.67 M weights.
    Images: (N, 3, H, W) in [0, 1], with noise beyond that, to the same shape, not clamped.
    Cost: 131 G multiply-adds for 384 × 512.
    """

    reach = DEPTH

    def __init__(self) -> None:
        super().__init__()
        self.model = chain(4, 3, width=WIDTH, depth=DEPTH)

    def forward(self, images: Tensor, sigma: float | Tensor) -> Tensor:
        """(N, 3, H, W) and the standard deviation of the noise in units of 1, one or (N,), to (N, 3, H, W)."""
        clean: Tensor = self.model(with_level(images, sigma))
        return clean
