"""Whether a gradient can be climbed at all."""

from __future__ import annotations

import torch
from torch import Tensor


def finite_and_nonzero(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) to two (N,) bool: every value is finite; any is not zero.

    One pass over the pictures where all is well: norms are found faster than masks are made.
    """
    flat = gradients.flatten(1)
    norms = torch.linalg.vector_norm(flat, dim=1)
    finite, nonzero = torch.isfinite(norms), norms > 0
    if bool((finite & nonzero).all()):
        return finite, nonzero
    # A norm may also overflow, or vanish because the squares do.
    high, low = flat.amax(dim=1), flat.amin(dim=1)
    return torch.isfinite(high) & torch.isfinite(low), (high > 0) | (low < 0)
