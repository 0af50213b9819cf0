"""What published metrics do to an image before their network sees it: sizes, means, and the refusal of tiny images.

Official pipelines resize with Pillow, OpenCV or scikit-image, where no gradient passes. The functions here compute the
same weighted means in float32; Pillow also rounds its result to 8 bits, which a gradient could not pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.errors import ImageContractError, Where

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Below, most of these networks have nothing left to look at after their strides.
SMALLEST = 32


def resized(images: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """Bilinear, pixel centres at halves; images that have the size are returned as they are.

    Images: (N, 3, H, W) to (N, 3, *size).
    antialias: as Pillow does (the kernel grows with the factor); without, as torchvision before 0.17 does to tensors.
    """
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def shorter_side(images: Tensor, length: int, *, antialias: bool) -> Tensor:
    """Bilinear to a shorter side of `length` pixels, the aspect kept as torchvision keeps it (longer side floored)."""
    height, width = images.shape[2:]
    size = (length, length * width // height) if height <= width else (length * height // width, length)
    return resized(images, size, antialias=antialias)


def enlarged(images: Tensor, least: int) -> Tensor:
    """Bilinear to a shorter side of `least` pixels where it is shorter; else as they are."""
    return shorter_side(images, least, antialias=False) if min(images.shape[2:]) < least else images


def normalised(images: Tensor, statistics: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    """(images − mean) / deviation for each channel."""
    mean, deviation = (images.new_tensor(list(values)).view(1, -1, 1, 1) for values in statistics)
    return (images - mean) / deviation


def windows(length: int, side: int, stride: int) -> list[int]:
    """Where windows of `side` begin on `length` pixels: every `stride`, and one flush with the end."""
    starts = [*range(0, length - side + 1, stride)]
    return starts if starts[-1] == length - side else [*starts, length - side]


def patches(images: Tensor, side: int, stride: int) -> Tensor:
    """(N, 3, H, W) to (N, P, 3, side, side), row by row, the last of a row or column flush with the edge."""
    height, width = images.shape[2:]
    cut = [
        images[:, :, top : top + side, left : left + side]
        for top in windows(height, side, stride)
        for left in windows(width, side, stride)
    ]
    return torch.stack(cut, dim=1)


def refuse_smaller(images: Tensor, metric: str, least: int = SMALLEST) -> None:
    """Raise ImageContractError, naming the metric, when a side is shorter than `least`."""
    if min(images.shape[2:]) < least:
        raise ImageContractError(
            f"{metric} takes images from {least} x {least}, got {tuple(images.shape[2:])}",
            where=Where(metric=metric),
            fix="scale the images up, or leave them out",
        )
