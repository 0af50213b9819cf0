"""`meta-iqa`: the published layout loads strictly, and the score is pyiqa's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.meta_iqa import MetaIqa, MetaIqaNetwork, Regression

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module], torchvision: Any) -> dict[str, Tensor]:
    return randomised(MetaIqaNetwork).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return published("meta-iqa", {f"net_g.module.{key}": value for key, value in old.items()})


@pytest.fixture(scope="module")
def paper(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("meta-iqa", state, paper=True)


@pytest.fixture(scope="module")
def theirs(state: dict[str, Tensor], torchvision: Any) -> nn.Module:
    """The class of pyiqa, which scales to 224 × 224 without antialiasing; its head has another name."""
    network = pytest.importorskip("pyiqa.archs.metaiqa_arch").MetaIQA(pretrained=False).eval()
    renamed = {"head." + key.removeprefix("net.") if key.startswith("net.") else key: v for key, v in state.items()}
    fixed = {key: value for key, value in network.state_dict().items() if key in ("mean", "std")}
    network.load_state_dict({**renamed, **fixed}, strict=True)
    return network


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the network class of the benchmark's own code.
    assert layout(state) == (140, "e272cab501069d05")
    assert state["resnet_layer.fc.weight"].shape == (1000, 512)
    assert state["net.relu1.weight"].shape == (1,)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: MetaIqa) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("size", [(224, 224), (240, 300), (64, 64), (65, 97)])
def test_the_score_is_pyiqas(
    metric: MetaIqa, theirs: nn.Module, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    with torch.inference_mode():
        assert metric(images).tolist() == pytest.approx(theirs(images).flatten().tolist(), rel=1e-5)


def test_paper_does_not_scale(metric: MetaIqa, paper: MetaIqa, noise: Callable[..., Tensor]) -> None:
    square, wide = noise(1, 224, 224), noise(1, 150, 200)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        assert torch.equal(metric(square), paper(square))
        plain = paper.network((wide - mean[:, None, None]) / deviation[:, None, None])
        assert paper(wide).tolist() == pytest.approx(plain.tolist(), rel=1e-6)
        assert not torch.allclose(metric(wide), paper(wide), atol=1e-6, rtol=0)


def test_the_regression_written_with_functions(
    randomised: Callable[..., nn.Module], noise: Callable[..., Tensor]
) -> None:
    network = randomised(Regression)
    state = network.state_dict()
    hidden = noise(5, 20, 20).flatten(1)[:, :1000]
    expected = hidden
    for number in (1, 2):
        expected = F.linear(expected, state[f"fc{number}.weight"], state[f"fc{number}.bias"])
        expected = (expected - state[f"bn{number}.running_mean"]) / (state[f"bn{number}.running_var"] + 1e-5).sqrt()
        expected = expected * state[f"bn{number}.weight"] + state[f"bn{number}.bias"]
        expected = torch.where(expected > 0, expected, expected * state[f"relu{number}.weight"])
    expected = 1 / (1 + (-F.linear(expected, state["fc3.weight"], state["fc3.bias"])).exp())
    assert network(hidden).tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-5)


def test_a_score_does_not_depend_on_the_batch(paper: MetaIqa, noise: Callable[..., Tensor]) -> None:
    images = noise(3, 65, 97)
    with torch.inference_mode():
        alone = torch.cat([paper(images[row : row + 1]) for row in range(3)])
        assert torch.allclose(paper(images), alone, atol=1e-5, rtol=0)


def test_gradients_of_the_network_reach_the_pixels(
    paper: MetaIqa, noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    slope = gradient(paper, noise(2, 64, 80))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9


def test_pyiqas_own_names_are_refused(theirs: nn.Module, published: Callable[..., Metric]) -> None:
    with pytest.raises(WeightsError, match=r"missing net.fc1.weight, .*; unexpected mean, std, head.fc1.weight"):
        published("meta-iqa", theirs.state_dict())
