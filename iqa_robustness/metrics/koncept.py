"""`koncept`: KonCept512, Inception-ResNet-v2 trained on KonIQ-10k at 512 × 384."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.inception_resnet_v2 import CHANNELS, inception_resnet_v2
from iqa_robustness.metrics.preparation import HALF, normalised, refuse_smaller, resized

# (height, width) of the images it was trained on, and what the benchmark's code scales every image to.
TRAINED_SIZE = (384, 512)
PAPER_SIZE = (512, 384)


class KonCeptNetwork(nn.Module):
    """Inception-ResNet-v2 (`base`) and a head of four linear layers (`fc`), in the key layout of KonCept512.pth.

    Images: (N, 3, 384, 512) in [−1, 1]. Returns (N,).
    The average pool covers the top-left 8 × 8 of the last 10 × 14 cells only: the published weights were trained so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base = inception_resnet_v2()
        layers: list[nn.Module] = []
        incoming = CHANNELS
        for outgoing, dropped in ((2048, 0.25), (1024, 0.25), (256, 0.5)):
            layers += [nn.Linear(incoming, outgoing), nn.ReLU(), nn.BatchNorm1d(outgoing), nn.Dropout(dropped)]
            incoming = outgoing
        self.fc = nn.Sequential(*layers, nn.Linear(incoming, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 384, 512) to (N,)."""
        scores: Tensor = self.fc(self.base(images).flatten(1))
        return scores.squeeze(1)


class KonCept(Metric):
    """No-reference metric KonCept512: MOS of KonIQ-10k on a scale of 0 to 100, higher is better.

    Source: Hosu et al., IEEE TIP 2020; weights of the PyTorch port (ZhengyuZhao/koniq-PyTorch). The authors score
    images of 384 × 512; the benchmark's code scales to 512 high and 384 wide, without antialiasing (`paper=True`).
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32, scaled to 384 × 512 with antialiasing where they differ.
    Cost: 30 G multiply-adds an image.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: KonCept512.pth; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(KonCeptNetwork, "koncept", weights)
        self.size = PAPER_SIZE if paper else TRAINED_SIZE
        self.antialias = not paper
        self.spec = MetricSpec(
            name="koncept",
            score_range=(26.40314292907715, 66.86933898925781),
            version="1-paper" if paper else "1",
            input_policy=f"scaled to {self.size[0]} x {self.size[1]}, aspect not kept",
            licence="MIT",
            paper="https://arxiv.org/abs/1910.06180",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "koncept")
        scores: Tensor = self.network(normalised(resized(images, self.size, antialias=self.antialias), HALF))
        return scores
