"""Labels of attacked images: lower, by how far the image is from the clean one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iqa_robustness.errors import UnknownNameError
from iqa_robustness.metrics.base import WeightsFile

PENALTIES = ("none", "ssim", "lpips", "lite0-features")
_WINDOW = 11


class LabelPenalty:
    """y' = clamp(y − weight · d(x', x) · (high − low), low, high), with the distance d that the name says.

    `ssim` is 1 − SSIM with a Gaussian window of 11 pixels, in kornia's implementation. `lpips` is LPIPS 0.1 on VGG in
    IQA-PyTorch's, whose files must be in torch's cache. `lite0-features` is `metrics.lite0_features.Lite0Features`,
    this package's own, which needs no files; it is not LPIPS, nor comparable. `none` leaves labels as they are.

    Source: Guardians of Image Quality (arXiv 2408.01541), adversarial training; benchmark section 4.5.
    Cost: of a network, a forward of both images; no backward.

    Args:
        name: one of `PENALTIES`.
        low: the lowest label.
        high: the highest label.
        weight: of the distance.
        device: where a network is put.

    Raises:
        UnknownNameError: another name. WeightsError, ConfigurationError: LPIPS or its library is not here.
    """

    def __init__(
        self, name: str, *, low: float, high: float, weight: float = 1.0, device: torch.device | str = "cpu"
    ) -> None:
        if name not in PENALTIES:
            raise UnknownNameError("label penalty", name, PENALTIES)
        self.name, self.low, self.high, self.weight = name, low, high, weight
        self.files: tuple[WeightsFile, ...] = ()
        self._distance = self._made(torch.device(device))

    def __call__(self, labels: Tensor, attacked: Tensor, clean: Tensor) -> Tensor:
        """(N,) labels of clean images to those of attacked ones; images are (N, 3, H, W) in [0, 1]."""
        if self.name == "none":
            return labels
        with torch.no_grad():
            lost = self.weight * self._distance(attacked, clean) * (self.high - self.low)
        return (labels - lost).clamp(self.low, self.high)

    def _made(self, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        if self.name == "lpips":
            from iqa_robustness.metrics.pyiqa_distance import PyiqaDistance

            published = PyiqaDistance("lpips-vgg")
            self.files = published.files
            return published.to(device)
        if self.name == "lite0-features":
            from iqa_robustness.metrics.lite0_features import Lite0Features

            return Lite0Features().to(device)
        return _one_less_ssim


def _one_less_ssim(attacked: Tensor, clean: Tensor) -> Tensor:
    from kornia.metrics import ssim  # slow to import

    found: Tensor = ssim(attacked, clean, _WINDOW, padding="valid")
    return 1 - found.mean(dim=(1, 2, 3))
