"""A metric behind an encoder: whose scores and gradients it gives, and that it is the same metric to everyone else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.encoded import EncodedMetric
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

ENCODERS: list[Encoder] = [Lossless(), JpegFile(quality=50), Thumbnail()]


class Compared(Metric):
    """Full-reference, and noisy."""

    spec = MetricSpec(name="compared", score_range=(0.0, 1.0), full_reference=True, stochastic=True)

    def forward(self, images: Tensor, *, reference: Tensor, streams: Streams) -> Tensor:
        return (images - reference).square().mean(dim=(1, 2, 3)) + streams.normal()


def pictures(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 40), generator=generator) / 255


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_it_scores_what_comes_out_of_the_encoder(encoder: Encoder) -> None:
    scores = EncodedMetric(Vulnerable(), encoder)(pictures())
    assert torch.equal(scores, Vulnerable()(encoder.encode(pictures())))


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_its_gradient_is_the_metrics_through_the_surrogate(encoder: Encoder) -> None:
    scorer = Scorer(metric=EncodedMetric(Vulnerable(), encoder), micro_batch=3)
    scores, gradients = scorer.scores_and_gradients(pictures())
    leaf = pictures().requires_grad_(True)
    # The metric is linear: its slope at the encoded image is its slope at the surrogate.
    (expected,) = torch.autograd.grad(Vulnerable()(encoder.surrogate(leaf)).sum(), leaf)
    assert torch.equal(scores, Vulnerable()(encoder.encode(pictures())))
    assert torch.allclose(gradients, expected, rtol=1e-5, atol=1e-9)


def test_references_stay_as_they_are_and_streams_are_passed_on() -> None:
    images, references, encoder = pictures(2), pictures(2).flip(3), JpegFile(quality=20)
    metric = EncodedMetric(Compared(), encoder)
    found = metric.evaluate(images, streams=Streams("key", ["a", "b"]), reference=references)
    expected = Compared()(encoder.encode(images), reference=references, streams=Streams("key", ["a", "b"]))
    assert torch.equal(found, expected)
    with pytest.raises(ConfigurationError, match="reference"):
        metric.evaluate(images, streams=Streams("key", ["a", "b"]))


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_metric_itself_to_whoever_asks(training: bool) -> None:
    metric = Vulnerable().train(training)
    encoded = EncodedMetric(metric, JpegFile())
    assert encoded.spec is metric.spec
    assert encoded.training is metric.training is training
