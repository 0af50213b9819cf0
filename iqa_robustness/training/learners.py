"""`CompactNetwork` in the two forms in which it learns; both give it back as it is shipped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from iqa_robustness.metrics.compact import HIDDEN, LAYERS, POOLED, CompactNetwork
from iqa_robustness.metrics.pooling import mean_and_deviation

# Learned on the scale of 0 to 1, where the usual learning rates are the right ones; the last layer takes it up after.
SCORE_UNIT = 100.0
_NORM_MOMENTUM = 0.02


class ContinuedNetwork(nn.Module):
    """A trained `CompactNetwork` that learns on.

    Images: (N, 3, H, W) float32 RGB in [0, 1]. Returns (N,) scores on the scale 0 to 1.
    """

    def __init__(self, network: CompactNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        scores: Tensor = self.network(images) / SCORE_UNIT
        return scores

    def folded(self) -> CompactNetwork:
        """The network, for inference."""
        return self.network.eval().requires_grad_(False)


class NormalisedNetwork(nn.Module):
    """`CompactNetwork` with batch normalisation, without which it hardly learns; `folded` takes it out again.

    Images: (N, 3, H, W) float32 RGB in [0, 1]. Returns (N,) scores on the scale 0 to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plain = CompactNetwork()
        norms = [nn.BatchNorm2d(outgoing, momentum=_NORM_MOMENTUM) for outgoing, _, _ in LAYERS]
        self.norms = nn.ModuleList(norms)
        features = len(self.plain.head.center)
        self.standard = nn.BatchNorm1d(features, momentum=_NORM_MOMENTUM, affine=False)
        self.hidden, self.output = nn.Linear(features, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        features = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        pooled = []
        for layer, (convolution, norm) in enumerate(zip(self.plain.convolutions, self.norms, strict=True)):
            features = F.relu(norm(convolution(features)))
            if layer in POOLED:
                pooled.append(mean_and_deviation(features))
        scores: Tensor = self.output(F.relu(self.hidden(self.standard(torch.cat(pooled, dim=1)))))
        return scores.squeeze(1)

    @torch.no_grad()
    def folded(self) -> CompactNetwork:
        """The same function of an image, in score units: running means and deviations become weights and biases."""
        state: dict[str, Tensor] = {}
        for layer, (convolution, norm) in enumerate(zip(self.plain.convolutions, self.norms, strict=True)):
            state[f"convolutions.{layer}.weight"], state[f"convolutions.{layer}.bias"] = fuse_conv_bn_weights(
                convolution.get_parameter("weight"),
                convolution.get_parameter("bias"),
                norm.get_buffer("running_mean"),
                norm.get_buffer("running_var"),
                self.standard.eps,
                norm.get_parameter("weight"),
                norm.get_parameter("bias"),
            )
        state["head.center"] = self.standard.get_buffer("running_mean")
        state["head.scale"] = (self.standard.get_buffer("running_var") + self.standard.eps).rsqrt()
        state |= {f"head.hidden.{name}": value for name, value in self.hidden.state_dict().items()}
        state |= {f"head.output.{name}": value * SCORE_UNIT for name, value in self.output.state_dict().items()}
        with torch.random.fork_rng(devices=[]):  # its initial weights are drawn, and thrown away
            network = CompactNetwork()
        network.load_state_dict(state)
        return network.eval().requires_grad_(False)
