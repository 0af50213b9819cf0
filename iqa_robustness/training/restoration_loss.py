"""What a purifier is trained to lessen: distances to the clean image by name, and sums of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.similarity import ssim

Distance = Callable[[Tensor, Tensor], Tensor]
"""(N, 3, H, W) restored and clean images to (N,), differentiable in the first."""

TERMS = ("mse", "ssim", "lpips", "lite0-features")


class RestorationLoss:
    """A sum of distances, each counted once, all with weight 1: `mse`, `ssim+lpips`, `mse+lite0-features`.

    `mse` is the mean squared error of values in [0, 1]. `ssim` is 1 − SSIM of the image clamped to [0, 1]. `lpips` is
    LPIPS 0.1 on AlexNet in IQA-PyTorch's implementation, whose files must be in torch's cache. `lite0-features` is
    `metrics.lite0_features.Lite0Features`, this package's own, which needs no files; it is not LPIPS, nor comparable.

    Source: Gushchin et al. 2024 (arXiv 2404.06957), who tried mse, ssim, lpips and their sums of two.
    Images: (N, 3, H, W) float32 RGB; H and W at least 7 with `ssim`, 32 with `lite0-features`.

    Args:
        expression: names of `TERMS`, joined by `+`; the order makes no difference.
        device: where networks are put.

    Raises:
        UnknownNameError: a name is none of `TERMS`. ConfigurationError: a name stands there twice, or pyiqa is absent.
        WeightsError: a file of LPIPS is missing.
    """

    def __init__(self, expression: str, *, device: torch.device | str = "cpu") -> None:
        named = expression.split("+")
        for name in named:
            if name not in TERMS:
                raise UnknownNameError("term of the loss", name, TERMS)
            if named.count(name) > 1:
                raise ConfigurationError(f"the loss {expression!r} has {name} twice", fix="name each term once")
        self.name = "+".join(term for term in TERMS if term in named)
        self.files: tuple[WeightsFile, ...] = ()
        self._distances = [self._distance(term, torch.device(device)) for term in self.name.split("+")]

    def __call__(self, restored: Tensor, clean: Tensor) -> Tensor:
        """(N, 3, H, W) twice to (N,)."""
        return torch.stack([distance(restored, clean) for distance in self._distances]).sum(dim=0)

    def _distance(self, term: str, device: torch.device) -> Distance:
        if term == "mse":
            return lambda restored, clean: (restored - clean).square().mean(dim=(1, 2, 3))
        if term == "ssim":
            # Clamped as the defense clamps it: a negative has the SSIM of its positive, and channels were learned so.
            return lambda restored, clean: 1 - ssim(restored.clamp(0, 1), clean)
        if term == "lpips":
            from iqa_robustness.metrics.pyiqa_distance import PyiqaDistance

            published = PyiqaDistance(term)
            self.files = published.files
            return published.to(device)
        from iqa_robustness.metrics.lite0_features import Lite0Features

        return Lite0Features().to(device)
