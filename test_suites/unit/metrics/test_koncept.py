"""`koncept`: the published layout loads strictly, and the score is the one computed another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.koncept import KonCept, KonCeptNetwork


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module]) -> dict[str, Tensor]:
    return randomised(KonCeptNetwork).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("koncept", {f"module.{key}": value for key, value in state.items()})


def head(state: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """(N, 1536) to (N,): linear, ReLU, normalisation three times, then linear; dropout is nothing."""
    for linear, norm in ((0, 2), (4, 6), (8, 10)):
        features = F.linear(features, state[f"fc.{linear}.weight"], state[f"fc.{linear}.bias"]).clamp(min=0)
        mean, variance = state[f"fc.{norm}.running_mean"], state[f"fc.{norm}.running_var"]
        features = (features - mean) / (variance + 1e-5).sqrt()
        features = features * state[f"fc.{norm}.weight"] + state[f"fc.{norm}.bias"]
    return F.linear(features, state["fc.12.weight"], state["fc.12.bias"]).squeeze(1)


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the network class of the benchmark's own code.
    assert layout(state) == (1327, "3fdf55fd793c8b1b")
    assert state["base.0.conv.weight"].shape == (32, 3, 3, 3)
    assert state["base.10.19.branch1.2.conv.weight"].shape == (192, 160, 7, 1)
    assert state["fc.12.weight"].shape == (1, 256)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: KonCept) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_score_is_the_heads_of_the_top_left_cells(
    state: dict[str, Tensor], metric: KonCept, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric, "size", (299, 350))
    images = noise(2, 299, 350)
    with torch.inference_mode():
        features = metric.network.base[:15](images * 2 - 1)
        assert features.shape[2:] == (8, 9)
        expected = head(state, features[:, :, :8, :8].mean(dim=(2, 3)))
        scores = metric(images)
        alone = metric(images[1:])
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert alone.tolist() == pytest.approx(scores[1:].tolist(), abs=1e-5 * metric.spec.diam)


def test_the_default_scales_with_antialiasing_to_384_high(
    metric: KonCept, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (metric.size, metric.antialias) == ((384, 512), True)
    monkeypatch.setattr(metric, "size", (299, 310))
    images = noise(1, 400, 450)
    scaled = F.interpolate(images, size=(299, 310), mode="bilinear", antialias=True)
    with torch.inference_mode():
        assert torch.equal(metric(images), metric(scaled))


def test_paper_scales_without_to_512_high(
    state: dict[str, Tensor], published: Callable[..., Metric], noise: Callable[..., Tensor]
) -> None:
    paper = published("koncept", {"state_dict": state}, paper=True)
    assert (paper.size, paper.antialias) == ((512, 384), False)
    paper.size = (310, 299)
    images = noise(1, 400, 450)
    transposed = F.interpolate(images, size=(310, 299), mode="bilinear", antialias=False)
    with torch.inference_mode():
        assert torch.equal(paper(images), paper.network(transposed * 2 - 1))


def test_gradients_of_the_network_reach_the_pixels(
    metric: KonCept, noise: Callable[..., Tensor], gradient: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric, "size", (299, 299))
    slope = gradient(metric, noise(1, 128, 160))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9


def test_weights_of_the_backbone_alone_are_refused(state: dict[str, Tensor], published: Callable[..., Metric]) -> None:
    backbone = {key: value for key, value in state.items() if key.startswith("base.")}
    with pytest.raises(WeightsError, match=r"missing fc.0.weight, fc.0.bias, fc.2.weight and 17 more") as raised:
        published("koncept", backbone)
    assert "KonCept512.pth" in raised.value.fix
