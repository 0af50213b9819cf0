"""`fpr`: FPR (hallucinated pristine features), a VGG-like network over 64 × 64 patches, trained on KADID-10k."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import enlarged, patches, refuse_smaller

PATCH = 64
SLOPE = 0.2
# Added to a patch's weight, so that an image whose patches all weigh nothing still has a mean.
LEAST_WEIGHT = 1e-8


class Convolution(nn.Module):
    """3 × 3 convolution and leaky ReLU; the key is `conv.0`."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(incoming, outgoing, 3, padding=1), nn.LeakyReLU(SLOPE))

    def forward(self, features: Tensor) -> Tensor:
        """(N, incoming, h, w) to (N, outgoing, h, w)."""
        result: Tensor = self.conv(features)
        return result


class Single(nn.Module):
    """One convolution, then maxima over 2 × 2."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.conv = Convolution(incoming, outgoing)

    def forward(self, features: Tensor) -> Tensor:
        """(N, incoming, h, w) to (N, outgoing, h / 2, w / 2)."""
        return F.max_pool2d(self.conv(features), 2)


class Double(nn.Module):
    """Two convolutions, then maxima over 2 × 2 unless `pooled` is False."""

    def __init__(self, incoming: int, outgoing: int, *, pooled: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = Convolution(incoming, outgoing), Convolution(outgoing, outgoing)
        self.pooled = pooled

    def forward(self, features: Tensor) -> Tensor:
        """(N, incoming, h, w) to (N, outgoing, h, w), or half of it in height and width."""
        features = self.conv2(self.conv1(features))
        return F.max_pool2d(features, 2) if self.pooled else features


def invertible_block() -> nn.ModuleDict:
    """The weights of one block of the hallucination network: three stacks of four 1 × 1 convolutions."""

    def stack() -> nn.ModuleDict:
        sizes = ((256, 512), (512, 512), (512, 512), (512, 256))
        return nn.ModuleDict({f"conv{number}": nn.Conv2d(*size, 1) for number, size in enumerate(sizes, start=1)})

    return nn.ModuleDict({name: stack() for name in "FGH"})


class FprNetwork(nn.Module):
    """The network, in the key layout of model_best_kadid_0.pkl.

    Patches: (N, P, 3, 64, 64) in [0, 1]; no mean is subtracted. Returns (N,): the mean of P patch scores, weighted by a
    GRU that reads the patches one after the other.
    Only the no-reference path (`s…`) scores. What trains it is in the file as well, so it is loaded and not used: the
    full-reference path, and the invertible network that hallucinates a pristine image's features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sfl1 = Double(3, 128)
        self.sfl21, self.sfl22, self.sfl23 = (
            Double(128, 256, pooled=False),
            Double(256, 256),
            Double(256, 256, pooled=False),
        )
        self.sfl3 = Double(256, 512)
        self.scl1, self.scl2 = Single(512, 128), nn.Conv2d(128, 64, 3)
        self.srl1, self.srl2 = nn.Linear(256, 32), nn.Linear(32, 1)
        self.swl1, self.swl2 = nn.GRU(256, 32, batch_first=True), nn.Linear(32, 1)
        self._add_training_parts()

    def _add_training_parts(self) -> None:
        self.fl1, self.fl2, self.fl3 = Double(3, 64), Double(64, 128), Double(128, 256)
        self.InvRescaleNet = nn.ModuleDict({"operations": nn.ModuleList(invertible_block() for _ in range(3))})
        self.cl1, self.cl2 = Single(512, 128), nn.Conv2d(128, 64, 3)
        self.rl1, self.rl2 = nn.Linear(256, 32), nn.Linear(32, 1)
        self.wl1, self.wl2 = nn.GRU(256, 32, batch_first=True), nn.Linear(32, 1)
        self.gn = nn.GroupNorm(64, 256)

    def forward(self, cut: Tensor) -> Tensor:
        """(N, P, 3, 64, 64) to (N,)."""
        features = self.sfl1(cut.flatten(0, 1))
        features = self.sfl3(self.sfl23(self.sfl22(self.sfl21(features))))
        described = self.scl2(self.scl1(features)).flatten(1)
        scores = self.srl2(self.srl1(described)).view(cut.shape[:2])
        read, _ = self.swl1(described.view(*cut.shape[:2], -1))
        weights = F.relu(self.swl2(read).squeeze(2)) + LEAST_WEIGHT
        score: Tensor = (scores * weights).sum(dim=1) / weights.sum(dim=1)
        return score


def whole_patches(images: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, P, 3, 64, 64): patches side by side, row by row; a remainder at right and bottom is cut."""
    height, width = (side // PATCH * PATCH for side in images.shape[2:])
    return patches(images[:, :, :height, :width], PATCH, PATCH)


def scrambled_patches(images: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, P, 3, 64, 64) as the benchmark cuts: three successive patches of one colour are one."""
    planes = whole_patches(images).transpose(1, 2)
    return planes.reshape(len(images), -1, 3, PATCH, PATCH)


class Fpr(Metric):
    """No-reference metric FPR: predicted distortion on KADID-10k's scale, 0 (pristine) to 80; LOWER is better.

    Source: Chen et al., IEEE TIP 2022 (Baoliang93/FPR, FPR_NI). The authors train on (5 − MOS) / 5 · 100, give
    undistorted images the label 0, and shuffle an image's patches; here they stand row by row, one of those orders, so
    that the metric is deterministic. The benchmark's code differs (`paper=True`): each "RGB" patch consists of three
    neighbouring patches of one colour, the score counts as higher-is-better, and its range is that of scrambled images.
    The default's range is the labels'.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32; a shorter side under 64 is enlarged to 64, under
    `paper=True` refused (the benchmark's cells are missing there).
    Cost: 1 M multiply-adds a pixel.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: model_best_kadid_0.pkl; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(FprNetwork, "fpr", weights)
        self.paper = paper
        self.spec = MetricSpec(
            name="fpr",
            score_range=(47.22482681274414, 77.04672241210938) if paper else (0.0, 80.0),
            higher_is_better=paper,
            version="1-paper" if paper else "1",
            input_policy="64 x 64 patches side by side, a remainder at the right and bottom is cut"
            + ("" if paper else "; a shorter side under 64 is enlarged"),
            licence="Apache-2.0",
            paper="https://doi.org/10.1109/TIP.2022.3205770",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "fpr", PATCH if self.paper else 32)
        cut = scrambled_patches(images) if self.paper else whole_patches(enlarged(images, PATCH))
        scores: Tensor = self.network(cut)
        return scores
