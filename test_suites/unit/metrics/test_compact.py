"""`compact`: its network against one written with functions, its bundled weights, and its errors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from iqa_robustness.datasets.base import View
from iqa_robustness.errors import ImageContractError, WeightsError
from iqa_robustness.metrics import compact
from iqa_robustness.metrics.compact import Compact, CompactNetwork, bundled_weights
from iqa_robustness.metrics.lite0 import HEAD

# Each convolution as (kernel, stride, incoming, outgoing, pooled), spelled out rather than derived.
CONVOLUTIONS = (
    (5, 2, 3, 24, True),
    (3, 2, 24, 40, False),
    (3, 1, 40, 40, True),
    (3, 2, 40, 64, False),
    (3, 1, 64, 64, True),
    (3, 2, 64, 96, True),
)


def photographs(count: int, *, height: int = 48, width: int = 64) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(count * height + width))


def loaded(weights: str | Path | None = None) -> Compact:
    return Compact(weights).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def metric() -> Compact:
    return loaded()


def reference(state: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 448) statistics and (N,) scores, in float64."""
    state = {name: value.double() for name, value in state.items()}
    features = images.double() * 2 - 1
    pooled: list[Tensor] = []
    for number, (kernel, stride, incoming, outgoing, is_pooled) in enumerate(CONVOLUTIONS):
        weight = state[f"convolutions.{number}.weight"]
        assert weight.shape == (outgoing, incoming, kernel, kernel)
        bias = state[f"convolutions.{number}.bias"]
        features = F.conv2d(features, weight, bias, stride=stride, padding=kernel // 2).clamp(min=0)
        if is_pooled:
            means = features.flatten(2).mean(dim=2)
            variances = (features.flatten(2) - means[:, :, None]).square().mean(dim=2)
            pooled += [means, (variances + 1e-6) ** 0.5]
    statistics = torch.cat(pooled, dim=1)
    standard = (statistics - state["head.center"]) * state["head.scale"]
    hidden = F.linear(standard, state["head.hidden.weight"], state["head.hidden.bias"]).clamp(min=0)
    return statistics, F.linear(hidden, state["head.output.weight"], state["head.output.bias"]).flatten()


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (61, 47)])
def test_equals_the_network_written_with_functions(size: tuple[int, int]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = CompactNetwork().requires_grad_(False)
    network.head.center.copy_(torch.linspace(-1, 1, 448))
    network.head.scale.copy_(torch.linspace(0.5, 2, 448))
    images = photographs(3, height=size[0], width=size[1])
    statistics, scores = reference(network.state_dict(), images)
    assert statistics.shape == (3, 448)
    assert (network.statistics(images) - statistics).norm() < 1e-5 * statistics.norm()
    assert (network(images) - scores).norm() < 1e-4 * scores.norm()


def test_the_metric_is_that_network_with_the_bundled_weights(metric: Compact) -> None:
    images = photographs(3)
    state = {name: value.float() for name, value in bundled_weights().tensors.items()}
    _, scores = reference(state, images)
    assert metric(images).tolist() == pytest.approx(scores.tolist(), abs=1e-5 * metric.spec.diam)


def test_it_is_small(metric: Compact) -> None:
    parameters = sum(parameter.numel() for parameter in metric.parameters())
    assert parameters <= 300_000
    for text in (Compact.__doc__, CompactNetwork.__doc__):
        assert re.findall(r"(\d+) k parameters", text or "") == [str(round(parameters / 1000))]
    assert compact.WEIGHTS.stat().st_size < 1_000_000


def test_the_spec_names_the_file_that_is_read(metric: Compact) -> None:
    (file,) = metric.spec.weights
    assert file.name == compact.WEIGHTS.name
    assert file.sha256 == hashlib.sha256(compact.WEIGHTS.read_bytes()).hexdigest()
    assert file.sha256 == compact.WEIGHTS_SHA256
    assert metric.spec.name == "compact"
    assert metric.spec.score_range == bundled_weights().score_range
    assert metric.spec.version == bundled_weights().version


@settings(max_examples=25)
@given(count=st.integers(1, 3), height=st.integers(32, 83), width=st.integers(32, 83))
def test_one_finite_score_an_image_at_any_size(metric: Compact, count: int, height: int, width: int) -> None:
    images = photographs(count, height=height, width=width)
    scores = metric(images)
    assert scores.shape == (count,)
    assert bool(torch.isfinite(scores).all())
    assert len(set(scores.tolist())) == count


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (31, 31), (1, 500)])
def test_smaller_images_are_refused_by_name(metric: Compact, size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match=re.escape(f"compact takes images from 32 x 32, got {size}")) as raised:
        metric(photographs(1, height=size[0], width=size[1]))
    assert raised.value.where.metric == "compact"
    assert raised.value.fix


def test_a_mode_of_training_changes_nothing(metric: Compact) -> None:
    images = photographs(2)
    training = Compact().train()
    assert training(images).detach().equal(metric(images))


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


def test_gradient_reaches_every_pixel(metric: Compact) -> None:
    images = photographs(1, height=49, width=55).requires_grad_()
    (gradient,) = torch.autograd.grad(metric(images).sum(), images)
    assert float((gradient != 0).float().mean()) > 0.99


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_has_a_finite_gradient(metric: Compact, value: float) -> None:
    images = torch.full((1, 3, 40, 48), value, requires_grad=True)
    score = metric(images)
    (gradient,) = torch.autograd.grad(score.sum(), images)
    assert bool(torch.isfinite(score).all())
    assert bool(torch.isfinite(gradient).all())


def test_scores_follow_the_quality_of_the_bundled_photographs(
    metric: Compact, graded: View, score_graded: Callable[[torch.nn.Module], Tensor]
) -> None:
    scores = score_graded(metric)
    by_level = scores.mean(dim=0).tolist()
    assert by_level == sorted(by_level, reverse=True)
    assert spearmanr(scores.flatten().numpy(), [item.mos for item in graded.items]).statistic >= 0.6


@pytest.mark.parametrize("kind", [str, Path])
def test_own_weights_are_loaded(metric: Compact, write_weights: Callable[..., Path], kind: type) -> None:
    state = {name: value.clone() for name, value in metric.network.state_dict().items()}
    state["head.output.bias"] += 8
    path = write_weights(state, metric="compact", name="mine.safetensors")
    own = loaded(kind(path))
    images = photographs(2)
    assert own(images).tolist() == pytest.approx((metric(images) + 8).tolist(), abs=1e-3)
    assert (own.spec.score_range, own.spec.version) == ((-1.5, 90.25), "3")
    assert own.spec.weights[0].name == "mine.safetensors"
    assert own.spec.weights[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_metrics_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="weights of 'lite0', not of 'compact'"):
        Compact(HEAD)


def test_weights_of_another_shape_are_refused(metric: Compact, write_weights: Callable[..., Path]) -> None:
    state = {**metric.network.state_dict(), "head.center": torch.zeros(447)}
    with pytest.raises(WeightsError, match=r"do not fit compact[\s\S]*head.center") as raised:
        Compact(write_weights(state, metric="compact"))
    assert raised.value.where.metric == "compact"


def test_a_touched_bundled_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(compact.WEIGHTS.read_bytes())
    content[-1] ^= 1
    touched = tmp_path / "compact.safetensors"
    touched.write_bytes(content)
    monkeypatch.setattr(compact, "WEIGHTS", touched)
    with pytest.raises(WeightsError, match="sha256") as raised:
        Compact()
    assert raised.value.where.file == str(touched)
