"""Sides that a network can halve: images lengthened to multiples of its stride."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def lengthened(images: Tensor, multiple: int) -> Tensor:
    """(N, C, H, W), reflected below and at the right until both sides are multiples; cut the result back to H × W."""
    below, right = (-length % multiple for length in images.shape[2:])
    # What is shorter than its reflection would be repeats its last row or column.
    reflects = below < images.shape[2] and right < images.shape[3]
    return F.pad(images, (0, right, 0, below), mode="reflect" if reflects else "replicate")
