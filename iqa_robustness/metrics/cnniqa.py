"""`cnniqa`: one convolution, pooled to its extremes over each patch, and two hidden layers."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import refuse_smaller

PATCH = 32
# Pillow's conversion to grey ("L"): 16-bit fixed-point weights of R, G, B.
_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
# Under the root, so that the gradient of a constant window is zero and not infinite; deviations are counted from 1 up.
_VARIANCE_FLOOR = 1e-12
# The middle 98 % of 2,127 scores: the crops of SR4KIQA (463), 200 images of NIPS 2017 and Kodak24, and each of 116, 100
# and 24 of them blurred (sigma 2, 4), with white noise (deviation 10, 30 of 255), JPEG-compressed (quality 30, 10).
RANGE = (13.0, 79.0)


class CnnIqaNetwork(nn.Module):
    """50 filters of 7 × 7, their maximum and minimum over the patch, 800 and 800 units, one score. 725 k parameters.

    Patches: (P, 1, 32, 32) locally normalised. Returns (P,). Key layout of CNNIQA-LIVE; no dropout, so for inference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 50, 7)
        self.fc1 = nn.Linear(100, 800)
        self.fc2 = nn.Linear(800, 800)
        self.fc3 = nn.Linear(800, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """(P, 1, 32, 32) to (P,)."""
        responses = self.conv1(patches)
        pooled = torch.cat([responses.amax(dim=(2, 3)), responses.amin(dim=(2, 3))], dim=1)
        scores: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(pooled)))))
        return scores.squeeze(1)


class CnnIqa(Metric):
    """No-reference metric CNNIQA: mean score of 32 × 32 grey patches, on the scale of LIVE's DMOS, lower is better.

    Source: Kang et al., CVPR 2014, in the implementation lidq92/CNNIQA (trained on LIVE): grey levels of 8 bits as
    Pillow makes them, 3 × 3 local normalisation within each patch, non-overlapping patches. Its loop stops a pixel
    before the last whole patch, so that a side of 512 is cut into 15 patches, not 16 (`paper=True`; sides of 33 at
    least then). Backward, rounding counts as the identity; the extremes pass
    gradients to two thirds of a photograph's pixels.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32, no resizing; what is over multiples of 32 is not seen.
    Scores: 0 to 100 nominally, unclamped.
    Cost: 2.4 M multiply-adds a patch.
    Raises: ImageContractError for smaller images, WeightsError without the file or with weights that do not fit.

    Args:
        weights: CNNIQA-LIVE or a checkpoint of its layout; None looks in `weights.folder()`.
        paper: leave the last row or column of patches out where the published code does.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(CnnIqaNetwork, "cnniqa", weights)
        self.paper = paper
        self.spec = MetricSpec(
            name="cnniqa",
            score_range=RANGE,
            higher_is_better=False,
            version="1-paper" if paper else "1",
            input_policy=f"grey {PATCH} x {PATCH} patches, any size from {self.smallest}, no resizing",
            licence="none stated",
            paper="https://doi.org/10.1109/CVPR.2014.224",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    @property
    def smallest(self) -> int:
        """Shortest side that holds a patch."""
        return PATCH + self.paper

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "cnniqa", self.smallest)
        patches = locally_normalized(self._patches(grey(images)))
        scores: Tensor = self.network(patches.flatten(0, 1)[:, None].to(images.dtype))
        return scores.view(patches.shape[:2]).mean(dim=1)

    def _patches(self, values: Tensor) -> Tensor:
        """(N, H, W) to (N, P, 32, 32)."""
        height, width = (side - self.paper for side in values.shape[1:])
        rows, columns = height // PATCH * PATCH, width // PATCH * PATCH
        return values[:, :rows, :columns].unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(1, 2)


def grey(images: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] to (N, H, W) float64 on the grid k/255, rounded half up; backward the identity."""
    # In float32, 255 · (k / 255) is k exactly, so that no half is rounded the wrong way.
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=images.device)
    levels = ((images * 255).to(torch.float64) * weights[:, None, None]).sum(dim=1)
    return (levels + ((levels + 0.5).floor() - levels).detach()) / 255


def locally_normalized(patches: Tensor) -> Tensor:
    """(N, P, 32, 32) minus the mean of 3 × 3 pixels, over 1 + their deviation; each patch mirrored at its border."""
    # One pixel beyond the border, mirroring equals repeating the border pixel.
    padded = F.pad(patches, (1, 1, 1, 1), mode="replicate")
    mean = F.avg_pool2d(padded, 3, 1)
    variance = F.avg_pool2d(padded.square(), 3, 1) - mean.square()
    return (patches - mean) / ((variance.clamp(min=0) + _VARIANCE_FLOOR).sqrt() + 1)
