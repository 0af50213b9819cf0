"""What the probe finds out about a metric, and what it refuses."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from iqa_robustness.errors import BatchDependenceError, NonFiniteScoreError
from iqa_robustness.images import to_uint8
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.probe import FINGERPRINT_STEP, probe, probe_images
from iqa_robustness.streams import Streams

RANGE = (10.0, 60.0)


class Weighted(Metric):
    """10 + 50 × weight × mean of the red channel."""

    def __init__(self, weight: float = 1.0, **facts: object) -> None:
        super().__init__()
        self.spec = MetricSpec(name="weighted", score_range=RANGE, **facts)  # type: ignore[arg-type]
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor:
        return 10 + 50 * self.weight * images[:, 0].mean(dim=(1, 2))


class BatchNormalised(Weighted):
    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        return 30 + scores - scores.mean()


class Rounded(Weighted):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).round()


class QueryOnly(Weighted):
    """Stands for another program: whoever asks it for a gradient gets an error."""

    def forward(self, images: Tensor) -> Tensor:
        assert not images.requires_grad
        return super().forward(images)


class InfiniteSlope(Weighted):
    """A root of exactly zero: the score is finite, its gradient is not."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + (images[:, 0] - images[:, 0].detach()).abs().sum(dim=(1, 2)).sqrt()


class Undefined(Weighted):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / (images.mean(dim=(1, 2, 3)) > 2)


def test_probe_images_are_these_and_no_others() -> None:
    images = probe_images()
    assert images.shape == (8, 3, 224, 256)
    assert images.dtype == torch.float32
    digest = hashlib.sha256(to_uint8(images).tobytes()).hexdigest()
    assert digest == "ab13edb19760cbefc21a8a6cd83c9ac248e19aa4f7d82e57738cb0746356386e"
    assert torch.round(images * 255).div(255).equal(images)


def test_fingerprint_is_in_steps_above_the_low_end() -> None:
    scores = 50 * probe_images()[:, 0].double().mean(dim=(1, 2))
    expected = scores / (50 * FINGERPRINT_STEP)
    found = torch.tensor(probe(Weighted()).fingerprint)
    assert float((found - expected).abs().max()) <= 0.5 + 1e-2


def test_fingerprint_is_repeatable_and_changes_with_the_weights() -> None:
    first = probe(Weighted()).fingerprint
    assert len(first) == 8
    assert len(set(first)) == 8
    assert probe(Weighted()).fingerprint == first
    assert probe(Weighted(1.001)).fingerprint != first
    assert probe(Weighted(1 + 1e-7)).fingerprint == first


def test_a_metric_with_batch_statistics_is_refused() -> None:
    with pytest.raises(BatchDependenceError, match="depends on its batch") as raised:
        probe(BatchNormalised())
    assert raised.value.where.metric == "weighted"
    assert raised.value.where.image.startswith("probe-")


def test_a_smooth_metric_is_differentiable() -> None:
    assert probe(Weighted()).differentiable


@pytest.mark.parametrize("metric", [Rounded(), InfiniteSlope(), QueryOnly(access="query-only")])
def test_what_gives_no_usable_gradient_is_not(metric: Metric) -> None:
    assert not probe(metric).differentiable


def test_errors_of_scoring_name_the_probe_image() -> None:
    with pytest.raises(NonFiniteScoreError) as raised:
        probe(Undefined())
    assert raised.value.where.image == "probe-0"


class Noisy(Metric):
    """Its own noise and nothing else: what it scores belongs to the stream, not to the place in the batch."""

    spec = MetricSpec(name="noisy", score_range=(-1.0, 1.0), stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return streams.normal(4).mean(dim=1) + 0 * images.mean(dim=(1, 2, 3))


def test_a_stochastic_metric_has_a_repeatable_fingerprint() -> None:
    assert probe(Noisy()).fingerprint == probe(Noisy()).fingerprint
