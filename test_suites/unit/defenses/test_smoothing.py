"""Median smoothing on a linear metric, where the smoothed score is known; its certificates, gradients and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.errors import ConfigurationError, NonFiniteScoreError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

SIGMA, EPSILON = 0.04, 0.02


class Linear(Metric):
    """Σ w · x; counts what it scored."""

    spec = MetricSpec(name="toy", score_range=(0.0, 1.0))

    def __init__(self) -> None:
        super().__init__()
        weights = np.random.RandomState(2).standard_normal((3, 6, 8))
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))
        self.rows = 0

    @property
    def norm(self) -> float:
        return float(self.weights.double().norm())

    def forward(self, images: Tensor) -> Tensor:
        self.rows += int(images.flatten(1).any(dim=1).sum())
        return (images * self.weights).flatten(1).sum(dim=1)


class Noisy(Linear):
    """And draws twice itself."""

    spec = MetricSpec(name="noisy", score_range=(0.0, 1.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + 0.1 * streams.normal(2).sum(dim=1) + streams.uniform()


def greys(count: int) -> Tensor:
    """Levels near the middle: noise of `SIGMA` is never clipped."""
    levels = np.random.RandomState(count).randint(115, 141, (count, 3, 6, 8))
    return torch.from_numpy(levels.astype(np.float32)).div(255)


def streams_of(count: int) -> Streams:
    return Streams("key", [f"image-{row}" for row in range(count)])


# --- the certified score on a linear metric -------------------------------------------------------------------------


def test_the_smoothed_score_of_a_linear_metric_is_its_score_up_to_sampling_error() -> None:
    metric, images, n = Linear(), greys(6), 600
    found = MedianSmoothing(sigma=SIGMA, n=n, epsilon=EPSILON).protect(metric).certify(images, streams=streams_of(6))
    error = math.sqrt(math.pi / 2 / n) * SIGMA * metric.norm
    deviation = (found.scores - metric(images)).abs()
    assert (deviation < 4 * error).all()
    assert float(deviation.max()) > 0.05 * error
    assert torch.allclose(found.draws.std(dim=1), torch.tensor(SIGMA * metric.norm), rtol=0.15)


def test_the_certified_interval_holds_the_score_of_every_image_within_the_radius() -> None:
    metric, images = Linear(), greys(6)
    found = MedianSmoothing(sigma=SIGMA, n=600, epsilon=EPSILON).protect(metric).certify(images, streams=streams_of(6))
    assert not found.abstained.any()
    # The smoothed median of a linear metric is the metric; its extremes in the ball lie along the weights.
    worst = EPSILON * metric.norm
    directions = torch.from_numpy(np.random.RandomState(0).standard_normal((40, 3, 6, 8)).astype(np.float32))
    directions = torch.cat([directions, metric.weights[None], -metric.weights[None]])
    directions = EPSILON * directions / directions.flatten(1).norm(dim=1)[:, None, None, None]
    for row, image in enumerate(images):
        scores = metric(image + directions)
        assert float(scores.max() - scores.min()) == pytest.approx(2 * worst, rel=1e-3)
        assert (scores >= found.lower[row]).all()
        assert (scores <= found.upper[row]).all()
    # Sound, and not by saying nothing: no wider than three times the true interval.
    assert (found.upper - found.lower < 3 * 2 * worst).all()
    assert torch.equal(found.radius, torch.full((6,), EPSILON, dtype=torch.float64))


def test_the_samples_are_the_image_and_gaussian_noise() -> None:
    images = greys(1)
    noisy = torch.cat(
        [
            MedianSmoothing(sigma=SIGMA).protect(Linear()).noisy(images, Streams(str(seed), ["a"])) - images
            for seed in range(60)
        ]
    )
    assert float(noisy.std()) == pytest.approx(SIGMA, rel=0.03)
    assert abs(float(noisy.mean())) < 4 * SIGMA / math.sqrt(noisy.numel())


def test_samples_are_clipped_to_the_range_before_they_are_scored() -> None:
    class Extremes(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).amax(dim=1) - images.flatten(1).amin(dim=1)

    found = MedianSmoothing(sigma=0.5, n=30).protect(Extremes()).certify(greys(1), streams=streams_of(1))
    assert set(found.draws.flatten().tolist()) == {1.0}


def test_every_sample_is_a_forward_pass_of_the_metric_and_no_more() -> None:
    metric = Linear()
    found = MedianSmoothing(sigma=SIGMA, n=33).protect(metric).certify(greys(2), streams=streams_of(2))
    assert metric.rows == 66
    assert found.draws.shape == (2, 33)
    assert len(found.draws.unique()) == 66


def test_too_few_samples_abstain_and_still_give_a_score() -> None:
    found = MedianSmoothing(sigma=SIGMA, n=5).protect(Linear()).certify(greys(2), streams=streams_of(2))
    assert found.abstained.all()
    assert found.lower.isnan().all()
    assert not found.radius.any()
    assert torch.equal(found.scores, found.draws.median(dim=1).values)


# --- repeatability --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Linear, Noisy])
def test_an_image_gets_the_same_certificate_in_any_company_and_order(metric: type[Metric]) -> None:
    guarded = MedianSmoothing(sigma=SIGMA, n=50, epsilon=0.005, alpha=0.01).protect(metric())
    images, ids = greys(5), [f"image-{row}" for row in range(5)]
    whole = guarded.certify(images, streams=Streams("key", ids))
    for chosen in ([4, 1, 0, 3, 2], [3], [2, 0]):
        part = guarded.certify(images[chosen], streams=Streams("key", [ids[row] for row in chosen]))
        for name in ("scores", "lower", "upper", "radius", "abstained", "draws"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[chosen]), name


def test_another_key_or_id_draws_other_samples() -> None:
    guarded, images = MedianSmoothing(sigma=SIGMA, n=20).protect(Linear()), greys(1)
    draws = [
        guarded.certify(images, streams=Streams(*name)).draws
        for name in (("key", ["a"]), ("key", ["a"]), ("kez", ["a"]), ("key", ["b"]))
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_no_images_have_no_certificates() -> None:
    found = MedianSmoothing(n=20).protect(Linear()).certify(greys(1)[:0], streams=streams_of(0))
    assert found.scores.shape == (0,)
    assert found.draws.shape == (0, 20)


# --- as the target of an attack -------------------------------------------------------------------------------------


def test_the_gradient_of_a_smoothed_linear_metric_is_its_weights() -> None:
    metric = Linear()
    scorer = Scorer(metric=MedianSmoothing(sigma=SIGMA).protect(metric), micro_batch=2)
    scores, gradients = scorer.scores_and_gradients(greys(3), streams=streams_of(3))
    assert torch.allclose(gradients, metric.weights.expand(3, -1, -1, -1))
    assert not torch.equal(scores, metric(greys(3)))


def test_where_noise_is_clipped_there_is_no_slope() -> None:
    dark = torch.zeros(2, 3, 6, 8) + 1 / 255
    guarded = MedianSmoothing(sigma=0.5).protect(Linear())
    _, gradients = Scorer(metric=guarded, micro_batch=2).scores_and_gradients(dark, streams=streams_of(2))
    noisy = guarded.noisy(dark, streams_of(2))
    clipped = (noisy == 0) | (noisy == 1)
    assert 0.4 < float(clipped.float().mean()) < 0.65
    assert torch.equal(gradients == 0, clipped)


def test_an_adaptive_attack_averages_and_reaches_the_optimum_of_the_smoothed_metric() -> None:
    metric = Linear()
    guarded = MedianSmoothing(sigma=SIGMA).protect(metric)
    clean = greys(2)
    result = IFGSM()(guarded, clean, draws=4)
    gain = (metric(result.images) - metric(clean)).double()
    assert (gain >= 0.99 * 4 / 255 * float(metric.weights.abs().sum())).all()
    assert set(result.backwards.tolist()) == {40}


# --- what is refused ------------------------------------------------------------------------------------------------


def test_without_streams_there_is_no_noise_to_draw() -> None:
    guarded = MedianSmoothing().protect(Linear())
    for ask in (guarded, guarded.certify):
        with pytest.raises(ConfigurationError, match="needs `streams`"):
            ask(greys(1))


@pytest.mark.parametrize(
    "parameters", [{"sigma": 0}, {"sigma": -0.1}, {"n": 0}, {"alpha": 0}, {"alpha": 1}, {"sigma": math.nan}]
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="smoothing needs"):
        MedianSmoothing(**parameters)


def test_a_negative_radius_is_refused_when_the_defense_is_made() -> None:
    with pytest.raises(ConfigurationError, match="epsilon"):
        MedianSmoothing(epsilon=-0.01)


def test_a_sample_that_scores_nan_names_the_image() -> None:
    class Trap(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return torch.where(images[:, 0, 0, 0] > 0.8, torch.nan, super().forward(images))

    images = greys(3)
    images[1, 0, 0, 0] = 0.9
    with pytest.raises(NonFiniteScoreError) as caught:
        MedianSmoothing(sigma=SIGMA, n=20).protect(Trap()).certify(images, streams=streams_of(3))
    assert caught.value.where.image == "image-1"
    assert caught.value.where.metric == "toy"
