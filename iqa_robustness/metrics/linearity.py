"""`linearity`: LinearityIQA (norm-in-norm loss, p = 1, q = 2), ResNeXt-101 trained on KonIQ-10k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.backbones import torchvision_model
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.checkpoint import load_published, tensors_of
from iqa_robustness.metrics.preparation import IMAGENET, normalised, refuse_smaller, resized
from iqa_robustness.metrics.weights import WeightsEntry

TRAINED_SIZE = (498, 664)
# Children of the backbone whose means are judged: the third and the fourth stage.
STAGES = (6, 7)


def reduction(incoming: int) -> nn.Sequential:
    """Three linear layers with batch normalisation, and one ReLU at the end: (N, incoming) to (N, 64)."""
    layers: list[nn.Module] = []
    for outgoing in (1024, 256, 64):
        layers += [nn.Linear(incoming, outgoing), nn.BatchNorm1d(outgoing)]
        incoming = outgoing
    return nn.Sequential(*layers, nn.ReLU())


class LinearityNetwork(nn.Module):
    """ResNeXt-101 32×8d (`features`) and the heads, in the key layout of p1q2.pth; `k`, `b` map to the MOS scale.

    Images: (N, 3, H, W), ImageNet mean and deviation. Returns (N,).
    `regr6` and `regr7` are outputs for training only; they are loaded and not used.
    """

    k: Tensor
    b: Tensor

    def __init__(self) -> None:
        super().__init__()
        backbone = torchvision_model("resnext101_32x8d", metric="linearity")
        self.features = nn.Sequential(*[*backbone.children()][:-2])
        self.dr6, self.dr7 = reduction(1024), reduction(2048)
        self.regr6, self.regr7 = nn.Linear(64, 1), nn.Linear(64, 1)
        self.regression = nn.Linear(128, 1)
        self.register_buffer("k", torch.ones(1))
        self.register_buffer("b", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        features, judged = images, []
        for number, layer in enumerate(self.features):
            features = layer(features)
            if number in STAGES:
                reduce = self.dr6 if number == STAGES[0] else self.dr7
                judged.append(reduce(features.mean(dim=(2, 3))))
        relative: Tensor = self.regression(torch.cat(judged, dim=1))
        return relative.squeeze(1) * self.k + self.b


def state_of(container: Any, *, entry: WeightsEntry, path: Path) -> dict[str, Tensor]:
    """The network's state: tensors under `model`, and the first of the three `k` and `b` beside it.

    Raises:
        WeightsError: `k` or `b` is missing, or no number.
    """
    content = container if isinstance(container, Mapping) else {}
    state = tensors_of(container, entry=entry, path=path)
    for name in ("k", "b"):
        try:
            state[name] = torch.as_tensor(content[name], dtype=torch.float32).flatten()[:1]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the weights lack the number {name!r} that maps scores to the MOS scale",
                where=entry.where(path),
                fix="give the authors' file whole: 'model', 'k' and 'b'",
            ) from error
    return state


class Linearity(Metric):
    """No-reference metric LinearityIQA: MOS of KonIQ-10k on a scale of 0 to 100, higher is better.

    Source: Li, Jiang and Jiang, ACM MM 2020 (lidq92/LinearityIQA, p1q2.pth). The authors train and test at 498 × 664,
    scaled with Pillow (rounded to 8 bits, here in float32); the benchmark's code does not scale (`paper=True`).
    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32.   Scores: about 0 to 100, unclamped.
    Cost: 112 G multiply-adds an image at 498 × 664.
    Raises: ImageContractError for smaller images, WeightsError without the file of weights.

    Args:
        weights: p1q2.pth; None looks in `weights.folder()`.
        paper: what the benchmark's published code computes.
    """

    def __init__(self, weights: str | Path | None = None, *, paper: bool = False) -> None:
        super().__init__()
        self.network, file = load_published(LinearityNetwork, "linearity", weights, state_of=state_of)
        self.paper = paper
        self.spec = MetricSpec(
            name="linearity",
            score_range=(25.780681610107422, 83.22696685791016),
            version="1-paper" if paper else "1",
            input_policy="any size from 32 x 32, no resizing" if paper else "scaled to 498 x 664, aspect not kept",
            licence="MIT",
            paper="https://arxiv.org/abs/2008.03889",
            weights=(file,),
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "linearity")
        scaled = images if self.paper else resized(images, TRAINED_SIZE, antialias=True)
        scores: Tensor = self.network(normalised(scaled, IMAGENET))
        return scores
