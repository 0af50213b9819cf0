"""The backbone against an independent one written with functions, on random weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.efficientnet_lite0 import EfficientNetLite0

# Each block as (kernel, stride, expand, incoming, outgoing), spelled out rather than derived.
BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
)


def random_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def convolution(name: str, *shape: int) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.running_mean"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    convolution("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for number, (kernel, _, expand, incoming, outgoing) in enumerate(BLOCKS):
        inner = incoming * expand
        if expand > 1:
            convolution(f"_blocks.{number}._expand_conv", inner, incoming, 1, 1)
            norm(f"_blocks.{number}._bn0", inner)
        convolution(f"_blocks.{number}._depthwise_conv", inner, 1, kernel, kernel)
        norm(f"_blocks.{number}._bn1", inner)
        convolution(f"_blocks.{number}._project_conv", outgoing, inner, 1, 1)
        norm(f"_blocks.{number}._bn2", outgoing)
    convolution("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"] = torch.randn((1000, 1280), generator=generator) * 0.03
    state["_fc.bias"] = torch.randn(1000, generator=generator)
    return state


class Reference:
    """The published network, unfolded, in float64; remembers the activations after each depthwise convolution."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.depthwise: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        features = (255 * images.double() - 127) / 128
        features = self._step(features, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
        for number, (_, stride, expand, incoming, outgoing) in enumerate(BLOCKS):
            prefix = f"_blocks.{number}."
            inner = features
            if expand > 1:
                inner = self._step(inner, f"{prefix}_expand_conv", f"{prefix}_bn0").clamp(0, 6)
            inner = self._step(
                inner, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride, groups=incoming * expand
            ).clamp(0, 6)
            self.depthwise.append(inner)
            outcome = self._step(inner, f"{prefix}_project_conv", f"{prefix}_bn2")
            features = features + outcome if stride == 1 and incoming == outgoing else outcome
        features = self._step(features, "_conv_head", "_bn1").clamp(0, 6)
        return F.linear(features.mean((2, 3)), self.state["_fc.weight"], self.state["_fc.bias"])

    def _step(self, features: Tensor, convolution: str, norm: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.state[f"{convolution}.weight"]
        padding = []
        for size in reversed(features.shape[2:]):
            reached = (-(-size // stride) - 1) * stride + weight.shape[-1]
            padding += [max(reached - size, 0) // 2, max(reached - size, 0) - max(reached - size, 0) // 2]
        convolved = F.conv2d(F.pad(features, padding), weight, stride=stride, groups=groups)
        parts = (self.state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(convolved, *parts, eps=1e-3)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state()


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_published(state)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(64, 64), (61, 78), (33, 96)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_the_unfolded_network(
    network: EfficientNetLite0, state: dict[str, Tensor], size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    images = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(1))
    reference = Reference(state)
    logits = reference(images)
    given = images.contiguous(memory_format=memory_format)
    assert (network(given).double() - logits).norm() < 1e-5 * logits.norm()
    found = list(network.depthwise(given, range(16)))
    assert len(found) == len(reference.depthwise)
    for ours, theirs in zip(found, reference.depthwise, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs).norm() < 1e-5 * theirs.norm()


def test_a_part_of_the_blocks_gives_the_same_maps(network: EfficientNetLite0) -> None:
    images = torch.rand((1, 3, 40, 48), generator=torch.Generator().manual_seed(2))
    everything = list(network.depthwise(images, range(16)))
    part = list(network.depthwise(images, range(4, 7)))
    assert [maps.shape[1] for maps in part] == [network.depthwise_channels[number] for number in (4, 5, 6)]
    assert all(bool((ours == full).all()) for ours, full in zip(part, everything[4:7], strict=True))


def test_blocks_behind_the_last_are_not_run(network: EfficientNetLite0) -> None:
    called: list[int] = []
    hooks = [
        block.depthwise_conv.register_forward_hook(lambda *_, number=number: called.append(number))
        for number, block in enumerate(network.blocks)
    ]
    list(network.depthwise(torch.rand(1, 3, 32, 32), range(2, 5)))
    for hook in hooks:
        hook.remove()
    assert called == [0, 1, 2, 3, 4]


def test_gradient_reaches_every_pixel(network: EfficientNetLite0) -> None:
    images = torch.rand((1, 3, 48, 40), generator=torch.Generator().manual_seed(3)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    assert bool(torch.isfinite(gradient).all())
    assert float((gradient != 0).float().mean()) > 0.99


def test_has_the_published_number_of_parameters() -> None:
    state = random_state()
    learned = [name for name in state if "running" not in name and "tracked" not in name]
    assert sum(state[name].numel() for name in learned) == 4_652_008


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_other_weights_are_refused(state: dict[str, Tensor], change: str) -> None:
    odd = dict(state)
    if change == "missing":
        del odd["_blocks.7._bn1.running_var"]
    elif change == "extra":
        odd["_blocks.16._bn1.running_var"] = torch.zeros(1)
    else:
        odd["_conv_head.weight"] = torch.zeros(1280, 321, 1, 1)
    with pytest.raises(WeightsError, match="no EfficientNet-Lite0 weights"):
        EfficientNetLite0().load_published(odd)
