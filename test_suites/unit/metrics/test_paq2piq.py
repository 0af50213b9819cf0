"""`paq2piq`: the published layout loads strictly, RoI pooling is Fast R-CNN's, and the score is pyiqa's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.paq2piq import Paq2Piq, Paq2PiqNetwork, pooled_whole, roi_bins

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module], torchvision: Any) -> dict[str, Tensor]:
    return randomised(Paq2PiqNetwork).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("paq2piq", {"model": state, "opt": {}})


def cells(pixels: int) -> int:
    """Cells of ResNet's last map: five strides of two, each rounding up."""
    for _ in range(5):
        pixels = (pixels + 1) // 2
    return pixels


def looped_roi_pool(features: Tensor, rois: Tensor, *, scale: float = 1 / 32) -> Tensor:
    """RoIPool to 2 × 2 as its kernel is written, cell by cell; row i of `rois` (x1, y1, x2, y2) belongs to image i."""
    count, channels, height, width = features.shape
    pooled = torch.zeros(count, channels, 2, 2)
    for image in range(count):
        left, top, right, bottom = (math.floor(float(edge) * scale + 0.5) for edge in rois[image])
        bin_height = max(bottom - top + 1, 1) / 2
        bin_width = max(right - left + 1, 1) / 2
        for row in range(2):
            for column in range(2):
                rows = range(
                    min(max(math.floor(row * bin_height) + top, 0), height),
                    min(max(math.ceil((row + 1) * bin_height) + top, 0), height),
                )
                columns = range(
                    min(max(math.floor(column * bin_width) + left, 0), width),
                    min(max(math.ceil((column + 1) * bin_width) + left, 0), width),
                )
                for channel in range(channels):
                    inside = [float(features[image, channel, y, x]) for y in rows for x in columns]
                    pooled[image, channel, row, column] = max(inside, default=0.0)
    return pooled


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from pyiqa's class, which loads the file strictly.
    assert layout(state) == (134, "a7db56efd15c9cf0")
    assert state["body.0.weight"].shape == (64, 3, 7, 7)
    assert state["head.8.weight"].shape == (1, 512)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: Paq2Piq) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_bins_of_known_sizes() -> None:
    assert roi_bins(512, 16) == [(0, 9), (8, 16)]
    assert roi_bins(384, 12) == [(0, 7), (6, 12)]
    assert roi_bins(500, 16) == [(0, 9), (8, 16)]
    assert roi_bins(80, 3) == [(0, 2), (2, 3)], "2.5 cells round up, not to the even number"
    assert roi_bins(32, 1) == [(0, 1), (1, 1)], "the second bin of a single cell is empty"


@given(pixels=st.integers(32, 3000))
def test_bins_cover_every_cell(pixels: int) -> None:
    first, second = roi_bins(pixels, cells(pixels))
    assert first[0] == 0
    assert second[0] <= first[1]
    assert second[1] == cells(pixels)


@pytest.mark.parametrize("size", [(32, 64), (47, 80), (64, 64), (65, 97), (224, 224), (240, 272)])
def test_pooling_is_the_kernels(size: tuple[int, int], torchvision: Any) -> None:
    height, width = size
    generator = torch.Generator().manual_seed(height)
    features = torch.randn((2, 3, cells(height), cells(width)), generator=generator)
    rois = torch.tensor([[0.0, 0.0, width, height]] * 2)
    got = pooled_whole(features, size)
    assert torch.equal(got, looped_roi_pool(features, rois))
    try:
        native = torchvision.ops.roi_pool(features, list(rois[:, None]), (2, 2), 1 / 32)
    except RuntimeError:
        return  # its compiled operators do not load beside a CPU build of torch
    assert torch.equal(got, native)


@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_the_score_is_pyiqas(
    state: dict[str, Tensor],
    metric: Paq2Piq,
    size: tuple[int, int],
    noise: Callable[..., Tensor],
    torchvision: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pyiqa = pytest.importorskip("pyiqa.archs.paq2piq_arch")
    plain = torchvision.models.resnet18
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: plain())
    theirs = pyiqa.PAQ2PIQ(pretrained=False).eval()
    theirs.load_state_dict(state, strict=True)
    monkeypatch.setattr(
        torchvision.ops.RoIPool, "forward", lambda _, features, rois: looped_roi_pool(features, torch.cat(rois))
    )
    images = noise(2, *size)
    with torch.inference_mode():
        assert metric(images).tolist() == pytest.approx(theirs(images).flatten().tolist(), rel=1e-5)


def test_a_score_does_not_depend_on_the_batch(metric: Paq2Piq, noise: Callable[..., Tensor]) -> None:
    images = noise(3, 65, 97)
    with torch.inference_mode():
        alone = torch.cat([metric(images[row : row + 1]) for row in range(3)])
        assert torch.allclose(metric(images), alone, atol=1e-5 * metric.spec.diam, rtol=0)


def test_gradients_of_the_network_reach_the_pixels(
    metric: Paq2Piq, noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    slope = gradient(metric, noise(2, 64, 80))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9
