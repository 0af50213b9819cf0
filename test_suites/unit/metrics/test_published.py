"""What the seven published metrics have in common, shown on networks small enough to run at every size.

Each metric is made with its own code around a stand-in network; the real networks are tested beside their names.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, ImageContractError
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.metrics.weights import entry_of

FILE = WeightsFile(name="weights.pth", sha256="0" * 64)
SEVEN = ("fpr", "koncept", "linearity", "maniqa", "meta-iqa", "paq2piq", "spaq")
WITH_PAPER = tuple(name for name in SEVEN if name != "paq2piq")
VARIANTS = [(name, {}) for name in SEVEN] + [(name, {"paper": True}) for name in WITH_PAPER]
IDS = [name + ("-paper" if options else "") for name, options in VARIANTS]
# Sizes from which `paper=True` works, where the published code fails below.
PAPER_LEAST = {"spaq": 224, "fpr": 64}
# Section 2.1 of the benchmark's `bounds.json`, and FPR's labels.
RANGES = {
    "meta-iqa": (0, 1),
    "maniqa": (0, 1),
    "koncept": (26.40314292907715, 66.86933898925781),
    "spaq": (21.749107360839844, 77.75585174560547),
    "paq2piq": (58.3803939819336, 84.1711196899414),
    "linearity": (25.780681610107422, 83.22696685791016),
    "fpr": (0, 80),
}


class StandIn(nn.Module):
    """Any number of axes before the colours, to one score an image: a smooth sum over pixels of unequal weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)
        slopes = torch.linspace(0.5, 1.5, pixels.shape[1])
        return (pixels * slopes).mean(dim=1) * self.weight


@pytest.fixture
def hollow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Metric]:
    """A metric by name around a stand-in for its network."""

    def make(name: str, **options: Any) -> Metric:
        module = importlib.import_module(metrics.registry.resolve(name).target.partition(":")[0])
        if name == "maniqa":
            monkeypatch.setattr(module, "CROPS", 3)
        monkeypatch.setattr(module, "load_published", lambda *_, **__: (StandIn(), FILE))
        return metrics.create(name, weights="weights.pth", **options)

    return make


@pytest.fixture(params=VARIANTS, ids=IDS)
def metric(request: pytest.FixtureRequest, hollow: Callable[..., Metric]) -> Metric:
    name, options = request.param
    return hollow(name, **options)


def least_of(metric: Metric) -> int:
    return PAPER_LEAST.get(metric.spec.name, 32) if metric.spec.version.endswith("paper") else 32


@pytest.mark.parametrize(
    "size", [(32, 32), (64, 64), (65, 97), (224, 224), (225, 31 * 8), (384, 512), (512, 384), (768, 1024)]
)
def test_one_score_an_image_or_a_refusal_by_name(
    metric: Metric, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    before = images.clone()
    if min(size) < least_of(metric):
        with pytest.raises(ImageContractError, match=f"{metric.spec.name} takes images from") as raised:
            metric(images)
        assert raised.value.where.metric == metric.spec.name
        assert raised.value.fix
        return
    scores = metric(images)
    assert scores.shape == (2,)
    assert scores.dtype == torch.float32
    assert bool(torch.isfinite(scores).all())
    assert float(scores[0]) != float(scores[1])
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 500)])
def test_tiny_images_are_refused_by_name(metric: Metric, size: tuple[int, int]) -> None:
    with pytest.raises(ImageContractError, match=f"{metric.spec.name} takes images from"):
        metric(torch.zeros(1, 3, *size))


def test_a_score_does_not_depend_on_the_batch(metric: Metric, noise: Callable[..., Tensor]) -> None:
    images = noise(3, 240, 250)
    together = metric(images)
    alone = torch.cat([metric(images[row : row + 1]) for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-5 * metric.spec.diam, rtol=0)


def test_scores_are_the_same_again_whatever_the_global_seed(metric: Metric, noise: Callable[..., Tensor]) -> None:
    assert not metric.spec.stochastic
    images = noise(1, 240, 300)
    first = metric(images)
    torch.manual_seed(1)
    assert torch.equal(metric(images), first)


@pytest.mark.parametrize("size", [(240, 250), (321, 227)])
def test_gradients_reach_the_pixels(
    metric: Metric, size: tuple[int, int], noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    slope = gradient(metric, noise(2, *size))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.5


def test_it_is_frozen_and_in_eval_mode_even_when_made_by_hand(hollow: Callable[..., Metric]) -> None:
    for name in SEVEN:
        metric = type(hollow(name))("weights.pth")
        assert not metric.training
        assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_the_spec_says_what_the_registry_and_the_manifest_say(metric: Metric) -> None:
    spec, entry = metric.spec, metrics.registry.resolve(metric.spec.name)
    assert spec.name == entry.name
    assert spec.licence == entry.licence == entry_of(spec.name).licence
    assert "weights not included" in entry.summary
    assert spec.paper.startswith("https://")
    assert spec.input_policy
    assert spec.access == "white-box"
    assert spec.weights == (FILE,)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_ranges_are_the_benchmarks(name: str, hollow: Callable[..., Metric]) -> None:
    assert hollow(name).spec.score_range == RANGES[name]
    assert hollow(name).spec.higher_is_better == (name != "fpr")


@pytest.mark.parametrize("name", WITH_PAPER)
def test_paper_is_another_version_so_that_keys_differ(name: str, hollow: Callable[..., Metric]) -> None:
    default, paper = hollow(name).spec, hollow(name, paper=True).spec
    assert paper.name == default.name
    assert paper.version != default.version
    assert paper.version.endswith("paper")
    assert paper.input_policy != default.input_policy


@pytest.mark.parametrize("name", WITH_PAPER)
def test_paper_scores_differ_at_some_size(
    name: str, hollow: Callable[..., Metric], noise: Callable[..., Tensor]
) -> None:
    images = noise(1, 768, 1024)
    default, paper = (hollow(name, paper=paper)(images).item() for paper in (False, True))
    assert not math.isclose(default, paper, rel_tol=1e-6)


def test_paq2piq_has_no_paper_variant(hollow: Callable[..., Metric]) -> None:
    with pytest.raises(ConfigurationError, match="paper"):
        hollow("paq2piq", paper=True)
