"""Defended metrics: what they declare, what passes through them, and what a broken defense is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.defenses.base import DefendedMetric, Purification
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.errors import DefenseContractError
from iqa_robustness.metrics.base import Metric, MetricSpec, WeightsFile
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

SPEC = MetricSpec(
    name="toy",
    score_range=(-2.0, 9.0),
    higher_is_better=False,
    version="7",
    licence="MIT",
    weights=(WeightsFile(name="w", sha256="0" * 64),),
)


class Linear(Metric):
    """Σ w · x."""

    spec = SPEC

    def __init__(self, height: int = 6, width: int = 8) -> None:
        super().__init__()
        weights = np.random.RandomState(2).standard_normal((3, height, width))
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(dim=1)


class Mean(Metric):
    """Any size."""

    spec = SPEC

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))


class Noisy(Mean):
    """Draws one number an image."""

    spec = MetricSpec(name="noisy", score_range=(0.0, 1.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + streams.normal()


@dataclass(frozen=True, kw_only=True)
class Scripted(Purification):
    """Purifies by a given function."""

    name: ClassVar[str] = "scripted"
    version: ClassVar[int] = 1

    function: Callable[[Tensor], Any]

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Any:
        del streams
        return self.function(images)


@dataclass(frozen=True, kw_only=True)
class Resizing(Scripted):
    keeps_geometry: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Steps(Purification):
    """Rounds to 256 values: no slope of its own; the surrogate is 10 x², far from it."""

    name: ClassVar[str] = "steps"
    version: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    surrogate_name: ClassVar[str] = "parabola"

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        del streams
        return (images * 255).round() / 255

    def surrogate(self, images: Tensor) -> Tensor:
        return 10 * images.square()


@dataclass(frozen=True, kw_only=True)
class Jitter(Purification):
    """Adds noise of its own."""

    name: ClassVar[str] = "jitter"
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        assert streams is not None
        return (images + 0.1 * streams.uniform(1, 1, 1)).clamp(0, 1)


def pictures(count: int = 3, height: int = 6, width: int = 8) -> Tensor:
    levels = np.random.RandomState(count).randint(0, 256, (count, 3, height, width))
    return torch.from_numpy(levels.astype(np.float32)).div(255)


# --- what a defended metric declares --------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", [Flip(), JPEG(), MedianSmoothing(), Undefended()])
def test_range_direction_version_and_weights_are_the_metrics(defense: Any) -> None:
    guarded = defense.protect(Linear())
    assert isinstance(guarded, DefendedMetric)
    assert isinstance(guarded, Metric)
    for fact in ("score_range", "higher_is_better", "version", "licence", "weights", "access", "diam", "sign"):
        assert getattr(guarded.spec, fact) == getattr(SPEC, fact), fact


def test_the_name_tells_the_defense_and_no_defense_is_not_told() -> None:
    assert Flip().protect(Mean()).spec.name == "toy behind flip"
    assert JPEG().protect(Flip().protect(Mean())).spec.name == "toy behind flip behind jpeg"
    assert Undefended().protect(Mean()).spec.name == "toy"


@pytest.mark.parametrize(
    ("defense", "metric", "stochastic"),
    [(Flip(), Mean(), False), (Jitter(), Mean(), True), (Flip(), Noisy(), True), (MedianSmoothing(), Mean(), True)],
)
def test_it_is_stochastic_when_the_metric_or_the_defense_is(defense: Any, metric: Metric, stochastic: bool) -> None:
    assert defense.protect(metric).spec.stochastic is stochastic


def test_protecting_leaves_the_metric_as_it_is() -> None:
    metric = Linear()
    before = (metric.spec, [*metric.state_dict()], metric.training)
    Flip().protect(metric)
    assert (metric.spec, [*metric.state_dict()], metric.training) == before


# --- scores ---------------------------------------------------------------------------------------------------------


def test_the_score_is_that_of_the_purified_image() -> None:
    images = pictures()
    assert torch.equal(Flip().protect(Linear())(images), Linear()(images.flip(-1)))
    both = Flip().protect(Scripted(function=lambda x: 1 - x).protect(Linear()))
    assert torch.equal(both(images), Linear()(1 - images.flip(-1)))


def test_noise_of_metric_and_defense_is_drawn_from_the_images_streams() -> None:
    images = pictures()
    guarded = Jitter().protect(Noisy())
    streams = Streams("key", ["a", "b", "c"])
    shift, noise = streams.uniform(1, 1, 1), streams.normal()
    expected = (images + 0.1 * shift).clamp(0, 1).mean(dim=(1, 2, 3)) + noise
    assert torch.equal(guarded(images, streams=Streams("key", ["a", "b", "c"])), expected)


def test_a_resizing_defense_may_change_height_and_width() -> None:
    guarded = Resizing(function=lambda images: images[:, :, ::2, ::2]).protect(Mean())
    assert guarded(pictures()).shape == (3,)
    assert guarded.purified(pictures()).shape == (3, 3, 3, 4)


# --- gradients ------------------------------------------------------------------------------------------------------


def test_gradients_pass_through_a_differentiable_defense() -> None:
    scores, gradients = Scorer(metric=Flip().protect(Linear()), micro_batch=2).scores_and_gradients(pictures())
    assert torch.equal(gradients, Linear().weights.flip(-1).expand(3, -1, -1, -1))
    assert torch.equal(scores, Scorer(metric=Linear(), micro_batch=2).scores(pictures().flip(-1)))


@pytest.mark.parametrize("seed", range(5))
def test_with_bpda_the_value_is_exact_and_the_slope_is_the_surrogates(seed: int) -> None:
    images = torch.from_numpy(np.random.RandomState(seed).uniform(size=(3, 3, 6, 8)).astype(np.float32))
    guarded = Steps().protect(Linear())
    leaf = images.clone().requires_grad_(True)
    assert torch.equal(guarded.purified(leaf).detach(), Steps().purify(images))
    scores, gradients = Scorer(metric=guarded, micro_batch=3).scores_and_gradients(images)
    assert torch.equal(scores, Linear()(Steps().purify(images)))
    assert torch.allclose(gradients, 20 * images * Linear().weights, rtol=1e-5)


def test_without_a_gradient_the_surrogate_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Steps, images: Tensor) -> Tensor:
        raise AssertionError("the surrogate is for the backward pass only")

    monkeypatch.setattr(Steps, "surrogate", refuse)
    Scorer(metric=Steps().protect(Mean()), micro_batch=2).scores(pictures())
    with torch.no_grad():
        Steps().protect(Mean())(pictures().requires_grad_(True))


def test_the_surrogate_is_the_identity_unless_a_better_one_is_named() -> None:
    images = pictures()
    assert Purification.surrogate_name == "identity"
    assert Scripted(function=lambda x: x).surrogate(images) is images


def test_an_adaptive_attack_gets_through_steps_that_hide_the_gradient() -> None:
    guarded, clean = Steps().protect(Mean()), pictures().clamp(0.2, 0.8)
    result = IFGSM()(guarded, clean)
    # A low score is better here, so raising the quality means going down.
    assert torch.allclose(Mean()(result.images), Mean()(result.clean) - 4 / 255)
    assert result.gradient_nonzero.all()


# --- what a broken defense is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images[:1], "made .* of"),
        (lambda images: images[:, :1], "made .* of"),
        (lambda images: images.mean(dim=1), "made .* of"),
        (lambda images: images[:, :, :4], "made .* of"),
        (lambda images: images + 0.2, r"values from .* to 1\.2"),
        (lambda images: images - 0.2, r"values from -0\.2"),
        (lambda images: torch.where(images > 0.5, torch.nan, images), "values from nan"),
        (lambda images: images * torch.inf, "values from"),
        (lambda images: images.double(), "returned torch.float64"),
        (lambda images: images.mul(255).to(torch.uint8), "returned torch.uint8"),
        (lambda _: None, "returned NoneType"),
        (lambda images: images.numpy(force=True), "returned ndarray"),
    ],
)
@pytest.mark.parametrize("way", ["scores", "scores_and_gradients", "attack"])
def test_a_defense_that_breaks_its_contract_is_named_with_the_metric(
    function: Callable[[Tensor], Any], message: str, way: str
) -> None:
    guarded = Scripted(function=function).protect(Mean())
    images = pictures()
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 1
    scorer = Scorer(metric=guarded, micro_batch=3)
    ask = {"attack": lambda: IFGSM()(guarded, images), "scores": lambda: scorer.scores(images)}.get(
        way, lambda: scorer.scores_and_gradients(images)
    )
    with pytest.raises(DefenseContractError, match=message) as caught:
        ask()
    assert (caught.value.where.metric, caught.value.where.defense) == ("toy", "scripted")
    assert caught.value.where.attack == ("ifgsm" if way == "attack" else "")


def test_a_surrogate_of_another_size_is_refused_not_broadcast() -> None:
    class Shrinking(Steps):
        keeps_geometry: ClassVar[bool] = False

        def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
            del streams
            return images.mean(dim=(2, 3), keepdim=True)

    with pytest.raises(DefenseContractError, match="surrogate made") as caught:
        Scorer(metric=Shrinking().protect(Mean()), micro_batch=3).scores_and_gradients(pictures())
    assert caught.value.where.defense == "steps"


def test_a_certified_defense_keeps_its_hands_off_the_range() -> None:
    noisy = MedianSmoothing(sigma=0.5).protect(Mean()).noisy(pictures(), Streams("key", ["a", "b", "c"]))
    assert float(noisy.min()) == 0
    assert float(noisy.max()) == 1


def test_no_images_are_no_violation() -> None:
    assert Flip().protect(Mean()).purified(pictures()[:0]).shape == (0, 3, 6, 8)
