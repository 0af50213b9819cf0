"""`compact`: a small CNN trained by this package, fast enough to be attacked hundreds of times in a test suite."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.pooling import mean_and_deviation, mean_and_deviation_channels
from iqa_robustness.metrics.preparation import SMALLEST, refuse_smaller
from iqa_robustness.metrics.score_head import ScoreHead
from iqa_robustness.metrics.trained import BUNDLED, TrainedWeights, read_trained

WEIGHTS = BUNDLED / "compact.safetensors"
WEIGHTS_SHA256 = "2a21279f4d3c7054948b9ac1378ff293d26220c69aaa6d6416e3a64c0e7d0ff6"
# (channels, kernel, stride) of each convolution, and which of them are pooled.
LAYERS = ((24, 5, 2), (40, 3, 2), (40, 3, 1), (64, 3, 2), (64, 3, 1), (96, 3, 2))
POOLED = (0, 2, 4, 5)
HIDDEN = 32


class CompactNetwork(nn.Module):
    """Six convolutions down to 1/16 of the size, statistics of four of them, one hidden layer. 155 k parameters.

    Images: (N, 3, H, W) float32 RGB in [0, 1], H, W ≥ 16. Returns (N,) scores. No normalisation over the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        convolutions = []
        channels = 3
        for outgoing, kernel, stride in LAYERS:
            convolutions.append(nn.Conv2d(channels, outgoing, kernel, stride, kernel // 2))
            channels = outgoing
        self.convolutions = nn.ModuleList(convolutions)
        self.head = ScoreHead(sum(mean_and_deviation_channels(LAYERS[layer][0]) for layer in POOLED), hidden=HIDDEN)
        # Measured on a CPU: a tenth less time than in the usual memory order.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def statistics(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 448): mean and deviation over space of the pooled layers' activations."""
        features = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        pooled = []
        for layer, convolution in enumerate(self.convolutions):
            features = F.relu(convolution(features), inplace=True)
            if layer in POOLED:
                pooled.append(mean_and_deviation(features))
        return torch.cat(pooled, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        scores: Tensor = self.head(self.statistics(images))
        return scores


class Compact(Metric):
    """No-reference metric: a CNN of 155 k parameters, trained on MOS and graded synthetic distortions.

    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32.   Scores: about 0 to 100, higher is better, unclamped.
    Cost: 2.8 k multiply-adds a pixel; speed in docs/model-cards/compact.md.
    Raises: ImageContractError for smaller images, WeightsError when the file of weights is not the expected one.

    Args:
        weights: weights of one's own, written by `iqa-robustness train metric-head`; the bundled ones when None.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        trained = read_trained(Path(weights), metric="compact") if weights else bundled_weights()
        self.network = CompactNetwork()
        trained.load_into(self.network)
        self.spec = MetricSpec(
            name="compact",
            score_range=trained.score_range,
            version=trained.version,
            input_policy=f"any size from {SMALLEST} x {SMALLEST}, no resizing",
            licence="Apache-2.0",
            weights=(trained.file(),),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "compact")
        scores: Tensor = self.network(images)
        return scores


def bundled_weights() -> TrainedWeights:
    """The weights that ship with this package. Raises WeightsError when they are not this release's."""
    return read_trained(WEIGHTS, metric="compact", sha256=WEIGHTS_SHA256)
