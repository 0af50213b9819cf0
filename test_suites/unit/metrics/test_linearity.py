"""`linearity`: the published layout and its two numbers load strictly; the score equals one computed another way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics import linearity
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.linearity import Linearity, LinearityNetwork, state_of
from iqa_robustness.metrics.weights import entry_of

pytestmark = pytest.mark.usefixtures("torchvision")

# Three outputs' maps to the MOS scale, as the training script stores them; the first is the final score's.
NUMBERS = {
    "k": [np.float64(-3.25), np.float64(9), np.float64(9)],
    "b": [np.float64(40.5), np.float64(9), np.float64(9)],
}


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module], torchvision: Any) -> dict[str, Tensor]:
    """The tensors of the published file: all but k and b."""
    network = randomised(LinearityNetwork, gain=0.7)
    return {key: value for key, value in network.state_dict().items() if key not in NUMBERS}


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("linearity", {"model": state, **NUMBERS, "optimizer": {}, "amp": {}})


@pytest.fixture(scope="module")
def reference(state: dict[str, Tensor], torchvision: Any) -> Callable[[Tensor], Tensor]:
    """(N, 3, H, W) in [0, 1] to (N,): torchvision's backbone stage by stage, and heads written with functions."""
    from torchvision.models.feature_extraction import create_feature_extractor

    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    with torch.device("meta"):
        network = torchvision.models.resnext101_32x8d(num_classes=1).eval()
    renamed = {
        f"{names[int(key.split('.')[1])]}.{key.split('.', 2)[2]}": value
        for key, value in state.items()
        if key.startswith("features.")
    }
    classifier = {"fc.weight": torch.zeros(1, 2048), "fc.bias": torch.zeros(1)}
    network.load_state_dict({**renamed, **classifier}, assign=True)
    stages = create_feature_extractor(network, {"layer3": "6", "layer4": "7"})

    def reduced(features: Tensor, name: str) -> Tensor:
        vector = F.adaptive_avg_pool2d(features, 1).flatten(1)
        for linear, norm in ((0, 1), (2, 3), (4, 5)):
            vector = F.linear(vector, state[f"{name}.{linear}.weight"], state[f"{name}.{linear}.bias"])
            facts = [state[f"{name}.{norm}.{fact}"] for fact in ("running_mean", "running_var", "weight", "bias")]
            vector = F.batch_norm(vector, *facts)
        return vector.clamp(min=0)

    def score(images: Tensor) -> Tensor:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        maps = stages((images - mean[:, None, None]) / deviation[:, None, None])
        joined = torch.cat([reduced(maps["6"], "dr6"), reduced(maps["7"], "dr7")], dim=1)
        relative = F.linear(joined, state["regression.weight"], state["regression.bias"])
        return relative.flatten() * -3.25 + 40.5

    return torch.inference_mode()(score)


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the network class of the benchmark's own code.
    assert layout(state) == (672, "04dd088bd6edeb54")
    assert state["features.4.0.conv2.weight"].shape == (256, 8, 3, 3)
    assert state["regression.weight"].shape == (1, 128)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: Linearity) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == {*state, "k", "b"}
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert (loaded["k"].tolist(), loaded["b"].tolist()) == ([-3.25], [40.5])


def test_the_score_at_the_networks_own_size_is_the_references(
    metric: Linearity,
    reference: Callable[[Tensor], Tensor],
    noise: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metric, "paper", True)
    images = noise(2, 65, 97)
    expected = reference(images)
    with torch.inference_mode():
        scores = metric(images)
        alone = metric(images[1:])
    assert (scores - 40.5).tolist() == pytest.approx((expected - 40.5).tolist(), rel=1e-4)
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert alone.tolist() == pytest.approx(scores[1:].tolist(), abs=1e-5 * metric.spec.diam)


def test_the_default_scales_with_antialiasing(
    metric: Linearity, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert linearity.TRAINED_SIZE == (498, 664)
    monkeypatch.setattr(linearity, "TRAINED_SIZE", (64, 96))
    images = noise(1, 100, 150)
    scaled = F.interpolate(images, size=(64, 96), mode="bilinear", antialias=True)
    with torch.inference_mode():
        assert torch.equal(metric(images), metric(scaled))


@pytest.mark.slow
def test_the_trained_size(
    metric: Linearity, reference: Callable[[Tensor], Tensor], noise: Callable[..., Tensor]
) -> None:
    images = noise(1, 498, 664)
    with torch.inference_mode():
        assert metric(images).tolist() == pytest.approx(reference(images).tolist(), rel=1e-5)


def test_gradients_of_the_network_reach_the_pixels(
    metric: Linearity,
    noise: Callable[..., Tensor],
    gradient: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linearity, "TRAINED_SIZE", (64, 64))
    slope = gradient(metric, noise(1, 50, 70))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9


# --- the two numbers --------------------------------------------------------------------------------------------------


TENSORS = {"weight": torch.ones(2)}


def numbers(content: dict[str, Any]) -> tuple[list[float], list[float]]:
    state = state_of(content, entry=entry_of("linearity"), path=Path("p1q2.pth"))
    return state["k"].tolist(), state["b"].tolist()


@pytest.mark.parametrize(
    ("k", "b"),
    [
        ([2.5, 1, 1], [0.5, 0, 0]),
        (np.array([2.5, 1, 1]), np.array([0.5, 0, 0])),
        (torch.tensor([2.5, 1, 1]), torch.tensor(0.5)),
        (2.5, 0.5),
        ([np.float64(2.5)], [np.float64(0.5)]),
    ],
)
def test_the_numbers_come_in_any_wrapping(k: Any, b: Any) -> None:
    assert numbers({"model": TENSORS, "k": k, "b": b}) == ([2.5], [0.5])


def test_a_flat_file_holds_them_beside_the_tensors() -> None:
    assert numbers({**TENSORS, "k": torch.tensor([2.5]), "b": torch.tensor([0.5])}) == ([2.5], [0.5])


@pytest.mark.parametrize(
    ("content", "name"),
    [({"model": TENSORS, "b": [0.5]}, "k"), ({"model": TENSORS, "k": [2.5]}, "b"), ({"model": TENSORS, "k": "2"}, "k")],
)
def test_a_file_without_them_is_refused(content: dict[str, Any], name: str) -> None:
    with pytest.raises(WeightsError, match=f"lack the number '{name}'") as raised:
        numbers(content)
    assert raised.value.where.file == "p1q2.pth"
