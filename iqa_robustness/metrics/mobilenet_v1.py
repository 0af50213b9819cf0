"""MobileNet (version 1) as Keras has it: names of layers, one-sided padding, constants."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# (channels, stride) of the thirteen separable convolutions.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
STEM = 32
CHANNELS = BLOCKS[-1][0]
_EPSILON = 1e-3


class MobileNetV1(nn.Module):
    """MobileNet of width 1 without its classifier, averaged over space. 3.2 M parameters.

    Modules are called as Keras calls its layers (`conv1`, `conv_dw_1`, `conv_pw_1`, each with its `_bn`).

    Source: Howard et al., arXiv:1704.04861; `keras.applications.mobilenet`. With stride 2 on an even side, TensorFlow
    (padding `same`) adds one zero row below and one column on the right; Keras 2.1 added one on every side, which
    samples the other pixels of each pair.
    Images: (N, 3, H, W) in [−1, 1]. Returns (N, 1024).

    Args:
        both_sides: pad as Keras 2.1 did.
    """

    def __init__(self, *, both_sides: bool = False) -> None:
        super().__init__()
        self.both_sides = both_sides
        self._convolution("conv1", nn.Conv2d(3, STEM, 3, 2, bias=False))
        channels = STEM
        for number, (outgoing, stride) in enumerate(BLOCKS, start=1):
            depthwise = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
            self._convolution(f"conv_dw_{number}", depthwise)
            self._convolution(f"conv_pw_{number}", nn.Conv2d(channels, outgoing, 1, bias=False))
            channels = outgoing

    def _convolution(self, name: str, convolution: nn.Conv2d) -> None:
        self.add_module(name, convolution)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(convolution.out_channels, eps=_EPSILON))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1024)."""
        features = images
        for module in self.children():
            if isinstance(module, nn.Conv2d):
                features = module(self._padded(features, module))
            else:
                features = F.relu6(module(features))
        return features.mean(dim=(2, 3))

    def _padded(self, features: Tensor, convolution: nn.Conv2d) -> Tensor:
        if convolution.kernel_size == (1, 1):
            return features
        if self.both_sides or convolution.stride == (1, 1):
            return F.pad(features, (1, 1, 1, 1))
        (top, bottom), (left, right) = (_same(side) for side in features.shape[2:])
        return F.pad(features, (left, right, top, bottom))


def _same(side: int) -> tuple[int, int]:
    """Zeros before and after, for a kernel of 3 and stride 2: TensorFlow's `same`, the odd one at the end."""
    return (1, 1) if side % 2 else (0, 1)
