"""`spaq`: the published layout loads strictly, and the score is the mean over the patches of the authors' demo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.spaq import Spaq, SpaqNetwork

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module], torchvision: Any) -> dict[str, Tensor]:
    return randomised(SpaqNetwork).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("spaq", {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 1})


@pytest.fixture(scope="module")
def paper(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("spaq", {"state_dict": state}, paper=True)


@pytest.fixture(scope="module")
def reference(state: dict[str, Tensor], torchvision: Any) -> Callable[[Tensor], float]:
    """One image's score: torchvision's network over patches cut in two loops."""
    with torch.device("meta"):
        network = torchvision.models.resnet50(num_classes=1).eval()
    network.load_state_dict({key.removeprefix("backbone."): value for key, value in state.items()}, assign=True)

    def corners(length: int) -> list[int]:
        found = []
        corner = 0
        while corner + 224 <= length:
            found.append(corner)
            corner += 112
        if found[-1] + 224 != length:
            found.append(length - 224)
        return found

    def score(image: Tensor) -> float:
        scores = [
            network(image[None, :, top : top + 224, left : left + 224]).item()
            for top in corners(image.shape[1])
            for left in corners(image.shape[2])
        ]
        return sum(scores) / len(scores)

    return torch.inference_mode()(score)


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the network class of the benchmark's own code.
    assert layout(state) == (320, "0afd498c426ab4d3")
    assert all(key.startswith("backbone.") for key in state)
    assert state["backbone.fc.weight"].shape == (1, 2048)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: Spaq) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("size", [(224, 224), (225, 230)])
def test_small_images_are_scored_as_they_are(
    metric: Spaq, paper: Spaq, reference: Callable[[Tensor], float], size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    expected = [reference(image) for image in images]
    with torch.inference_mode():
        assert metric(images).tolist() == pytest.approx(expected, rel=1e-5)
        assert paper(images).tolist() == pytest.approx(expected, rel=1e-5)


def test_there_are_twelve_patches_at_the_benchmarks_size(metric: Spaq, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def forward(images: Tensor) -> Tensor:
        seen.append(images)
        return images.mean(dim=(1, 2, 3))

    monkeypatch.setattr(metric.network, "forward", forward)
    assert metric(torch.zeros(2, 3, 384, 512)).shape == (2,)
    assert seen[0].shape == (24, 3, 224, 224)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((768, 1024), (512, 682)),
        ((1024, 768), (682, 512)),
        ((512, 600), (512, 600)),
        ((511, 2000), (511, 2000)),
        ((384, 512), (384, 512)),
        ((100, 150), (224, 336)),
    ],
)
def test_what_the_default_scales_to(metric: Spaq, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert metric.prepared(torch.zeros(1, 3, *size)).shape[2:] == expected


def test_large_images_are_scaled_with_antialiasing(metric: Spaq, paper: Spaq, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 540, 600)
    expected = F.interpolate(images, size=(512, 568), mode="bilinear", antialias=True)
    assert torch.equal(metric.prepared(images), expected)
    assert paper.prepared(images) is images


def test_paper_refuses_what_the_published_code_fails_on(paper: Spaq) -> None:
    with pytest.raises(ImageContractError, match="spaq takes images from 224 x 224"):
        paper(torch.zeros(1, 3, 192, 256))


def test_gradients_of_the_network_reach_the_pixels(
    metric: Spaq, noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    slope = gradient(metric, noise(1, 64, 64))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9


def test_weights_of_a_classifier_are_refused(state: dict[str, Tensor], published: Callable[..., Metric]) -> None:
    classifier = {**state, "backbone.fc.weight": torch.zeros(1000, 2048), "backbone.fc.bias": torch.zeros(1000)}
    with pytest.raises(WeightsError, match=r"misshapen backbone.fc.weight \(1000, 2048\) instead of \(1, 2048\)"):
        published("spaq", classifier)
