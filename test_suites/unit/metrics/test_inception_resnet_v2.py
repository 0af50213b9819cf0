"""The backbone's parts against functions, and the whole against timm's (its keys are the port's names)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.metrics.inception_resnet_v2 import (
    CHANNELS,
    Branches,
    Convolution,
    ResidualBranches,
    block_8,
    block_17,
    block_35,
    inception_resnet_v2,
    mixed_5b,
    mixed_6a,
    mixed_7a,
)

# What the sixteen children are called in the port; pools have no weights.
NAMES = {
    0: "conv2d_1a",
    1: "conv2d_2a",
    2: "conv2d_2b",
    4: "conv2d_3b",
    5: "conv2d_4a",
    7: "mixed_5b",
    8: "repeat",
    9: "mixed_6a",
    10: "repeat_1",
    11: "mixed_7a",
    12: "repeat_2",
    13: "block8",
    14: "conv2d_7b",
}


@pytest.fixture(scope="module")
def backbone(randomised: Callable[..., nn.Module]) -> nn.Module:
    return randomised(inception_resnet_v2)


def maps(channels: int, side: int = 9) -> Tensor:
    return torch.randn((2, channels, side, side), generator=torch.Generator().manual_seed(channels))


def test_a_convolution_is_normalised_with_the_ports_epsilon_and_rectified(randomised: Callable[..., nn.Module]) -> None:
    layer = randomised(lambda: Convolution(4, 6, 3, stride=2, padding=1))
    state = layer.state_dict()
    features = F.conv2d(maps(4), state["conv.weight"], stride=2, padding=1)
    mean, variance = (state[f"bn.running_{name}"][:, None, None] for name in ("mean", "var"))
    scaled = (features - mean) / (variance + 0.001).sqrt() * state["bn.weight"][:, None, None]
    assert torch.allclose(layer(maps(4)), (scaled + state["bn.bias"][:, None, None]).clamp(min=0), atol=1e-5)
    assert "conv.bias" not in state


def test_branches_are_concatenated_in_order() -> None:
    both = Branches(nn.Identity(), nn.MaxPool2d(3, stride=1, padding=1))
    features = maps(3)
    assert torch.equal(both(features), torch.cat([features, F.max_pool2d(features, 3, 1, 1)], dim=1))
    assert [name for name, _ in both.named_children()] == ["branch0", "branch1"]


@pytest.mark.parametrize("last", [False, True])
def test_residuals_are_scaled_and_rectified_but_for_the_last(last: bool) -> None:
    block = ResidualBranches(nn.Identity(), nn.Identity(), joined=6, channels=3, scale=0.25, last=last)
    features = maps(3)
    joined = F.conv2d(torch.cat([features, features], dim=1), block.conv2d.weight, block.conv2d.bias)
    total = features + 0.25 * joined
    assert torch.allclose(block(features), total if last else total.clamp(min=0), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "incoming", "outgoing", "side"),
    [
        (mixed_5b, 192, 320, 9),
        (block_35, 320, 320, 9),
        (mixed_6a, 320, 1088, 4),
        (block_17, 1088, 1088, 9),
        (mixed_7a, 1088, 2080, 4),
        (block_8, 2080, 2080, 9),
    ],
)
def test_channels_and_sizes(make: Callable[[], nn.Module], incoming: int, outgoing: int, side: int) -> None:
    with torch.no_grad():
        assert make().eval()(maps(incoming)).shape == (2, outgoing, side, side)


def test_the_scales_are_the_papers() -> None:
    assert (block_35().scale, block_17().scale, block_8().scale) == (0.17, 0.10, 0.20)


def test_its_children_are_the_sixteen_of_the_port(backbone: nn.Module) -> None:
    children = [name for name, _ in backbone.named_children()]
    assert children == [str(number) for number in range(16)]
    assert [len(backbone.get_submodule(str(number))) for number in (8, 10, 12)] == [10, 20, 9]  # type: ignore[arg-type]
    assert backbone.get_submodule("13").scale == 1.0
    assert backbone.get_submodule("13").last is True


def test_it_is_timms_network(backbone: nn.Module, noise: Callable[..., Tensor], torchvision: object) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=0).eval()
    state = {
        NAMES[int(key.partition(".")[0])] + "." + key.partition(".")[2]: v for key, v in backbone.state_dict().items()
    }
    theirs.load_state_dict(state, strict=True, assign=True)
    images = noise(1, 331, 299) * 2 - 1
    with torch.inference_mode():
        features = theirs.forward_features(images)
        assert features.shape[1:] == (CHANNELS, 9, 8)
        expected = features[:, :, :8, :8].mean(dim=(2, 3), keepdim=True)
        got = backbone(images)
    assert got.shape == (1, CHANNELS, 1, 1)
    assert (got - expected).norm() < 1e-5 * expected.norm()


def test_images_of_the_trained_size_give_one_cell() -> None:
    with torch.device("meta"):
        network = inception_resnet_v2().eval()
        assert network(torch.empty(1, 3, 384, 512)).shape == (1, CHANNELS, 1, 1)
        assert network[:15](torch.empty(1, 3, 384, 512)).shape == (1, CHANNELS, 10, 14)
