"""`meta-iqa`: MetaIQA, ResNet-18 meta-learned over distortions and fine-tuned."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from iqa_robustness.metrics.backbones import torchvision_model
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published
from iqa_robustness.metrics.preparation import IMAGENET, normalised, refuse_smaller, resized

TRAINED_SIZE = (224, 224)


class Regression(nn.Module):
    """1000 class scores to one quality in (0, 1); dropout follows each activation in training."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn1, self.relu1 = nn.Linear(1000, 1024), nn.BatchNorm1d(1024), nn.PReLU()
        self.fc2, self.bn2, self.relu2 = nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.PReLU()
        self.fc3 = nn.Linear(512, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, classes: Tensor) -> Tensor:
        """(N, 1000) to (N,)."""
        hidden = self.drop(self.relu1(self.bn1(self.fc1(classes))))
        hidden = self.drop(self.relu2(self.bn2(self.fc2(hidden))))
        quality: Tensor = self.fc3(hidden).sigmoid()
        return quality.squeeze(1)


class MetaIqaNetwork(nn.Module):
    """ResNet-18 with its 1000 ImageNet outputs (`resnet_layer`) and the regression (`net`), as metaiqa.pth has them.

    Images: (N, 3, H, W), ImageNet mean and deviation. Returns (N,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.resnet_layer = torchvision_model("resnet18", metric="meta-iqa")
        self.net = Regression()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        scores: Tensor = self.net(self.resnet_layer(images))
        return scores


class MetaIqa(Metric):
    """No-reference metric MetaIQA: quality between 0 and 1, higher is better.

    Source: Zhu et al., CVPR 2020 (zhuhancheng/MetaIQA). Its test code scales every image to 224 × 224 with
    scikit-image, bilinear (antialiasing depends on that library's version; here none, as in pyiqa); the benchmark's
    code does not scale (`paper=True`). Which data the benchmark's metaiqa.pth was fine-tuned on is not published.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32.
    Cost: 1.8 G multiply-adds an image at 224 × 224.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: metaiqa.pth; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(MetaIqaNetwork, "meta-iqa", weights)
        self.paper = paper
        self.spec = MetricSpec(
            name="meta-iqa",
            score_range=(0.0, 1.0),
            version="1-paper" if paper else "1",
            input_policy="any size from 32 x 32, no resizing" if paper else "scaled to 224 x 224, aspect not kept",
            licence="none stated",
            paper="https://arxiv.org/abs/2004.05508",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "meta-iqa")
        scaled = images if self.paper else resized(images, TRAINED_SIZE, antialias=False)
        scores: Tensor = self.network(normalised(scaled, IMAGENET))
        return scores
