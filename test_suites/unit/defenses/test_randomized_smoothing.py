"""Randomized smoothing as a defended metric: selection and estimation, company, resolution, early stops, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.preparation import resized
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams


class Mean(Metric):
    """The mean level in per cent; remembers the sizes and the number of what it scored."""

    def __init__(self, *, full_reference: bool = False) -> None:
        super().__init__()
        self.spec = MetricSpec(name="mean", score_range=(0.0, 100.0), full_reference=full_reference)
        self.sizes: list[tuple[int, ...]] = []
        self.rows = 0

    def forward(self, images: Tensor, *, reference: Tensor | None = None) -> Tensor:
        self.sizes.append(tuple(images.shape[2:]))
        self.rows += int(images.flatten(1).any(dim=1).sum())
        if reference is not None:
            assert reference.shape == images.shape
            return 100 * (images - reference).abs().mean(dim=(1, 2, 3))
        return 100 * images.mean(dim=(1, 2, 3))


def greys(*levels: float, size: tuple[int, int] = (6, 8)) -> Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, *size).contiguous()


def streams_of(count: int, key: str = "key") -> Streams:
    return Streams(key, [f"image-{row}" for row in range(count)])


# --- the certificate ------------------------------------------------------------------------------------------------


def test_the_class_of_a_plain_picture_is_that_of_its_level() -> None:
    defense = RandomizedSmoothing(sigma=0.05, n0=20, n=200)
    found = defense.protect(Mean()).certify(greys(0.25, 0.55, 0.85), streams=streams_of(3))
    assert found.classes.tolist() == [3, 6, 9]
    assert found.scores.tolist() == [25, 55, 85]
    assert found.votes.tolist() == [200, 200, 200]
    assert not found.abstained.any()
    assert found.draws.shape == (3, 200)
    assert found.selection.shape == (3, 20)
    assert found.radius.dtype == torch.float64


def test_selection_and_estimation_are_different_samples_and_no_others() -> None:
    metric = Mean()
    found = RandomizedSmoothing(n0=7, n=26).protect(metric).certify(greys(0.5, 0.5), streams=streams_of(2))
    assert metric.rows == 2 * (7 + 26)
    assert len(torch.cat([found.selection, found.draws], dim=1).unique()) == 2 * (7 + 26)


def test_certificates_recomputed_from_stored_draws_are_the_same() -> None:
    defense = RandomizedSmoothing(sigma=0.3, n0=10, n=60, alpha=0.05)
    found = defense.protect(Mean()).certify(greys(0.5, 0.31, 0.7), streams=streams_of(3))
    again = defense.certificates(found.draws, selection=found.selection, score_range=(0.0, 100.0))
    corrected = defense.certificates(found.draws, selection=found.selection, score_range=(0.0, 100.0), family=3)
    for field in dataclasses.fields(found):
        ours, theirs = getattr(found, field.name), getattr(again, field.name)
        assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)), field.name
    assert (corrected.radius <= found.radius).all()
    assert (corrected.radius < found.radius).any()


@pytest.mark.parametrize("looks", [1, 3])
@pytest.mark.parametrize("name", ["rs", "ms"])
def test_an_image_gets_the_same_certificate_in_any_company_order_and_call(name: str, looks: int) -> None:
    sizes = {"n0": 9} if name == "rs" else {}
    guarded = defenses.create(name, sigma=0.2, n=37, alpha=0.2, looks=looks, **sizes).protect(Mean())
    images, ids = greys(0.2, 0.5, 0.81, 0.33), [f"image-{row}" for row in range(4)]
    whole = guarded.certify(images, streams=Streams("key", ids))
    for chosen in ([3, 1, 0, 2], [2], [1, 3]):
        part = guarded.certify(images[chosen], streams=Streams("key", [ids[row] for row in chosen]))
        for field in dataclasses.fields(whole):
            ours, theirs = getattr(part, field.name), getattr(whole, field.name)[chosen]
            assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)), field.name


# --- as a metric and a target ---------------------------------------------------------------------------------------


def test_as_a_metric_it_scores_one_noisy_sample_with_a_gradient() -> None:
    scorer = Scorer(metric=RandomizedSmoothing(sigma=0.05).protect(Mean()), micro_batch=2)
    scores, gradients = scorer.scores_and_gradients(greys(0.4, 0.6), streams=streams_of(2))
    assert scores.tolist() == pytest.approx([40, 60], abs=2)
    assert scores.tolist() != [40, 60]
    assert torch.allclose(gradients, torch.full_like(gradients, 100 / (3 * 6 * 8)))


def test_an_attack_averages_over_samples_and_moves_the_ideal_class() -> None:
    guarded = RandomizedSmoothing(sigma=0.05, n0=10, n=50).protect(Mean())
    clean = greys(0.395, 0.395)
    result = IFGSM()(guarded, clean, draws=3)
    assert (result.images > clean).all()
    before, after = (guarded.certify(images, streams=streams_of(2)).classes for images in (clean, result.images))
    assert before.tolist() == [4, 4]
    assert after.tolist() == [5, 5]


# --- another resolution ---------------------------------------------------------------------------------------------


def test_a_resolution_is_taken_before_the_noise_and_declared() -> None:
    metric, defense = Mean(), RandomizedSmoothing(sigma=0.05, n0=4, n=8, resolution=5)
    guarded = defense.protect(metric)
    pictures = torch.rand((2, 3, 9, 12), generator=torch.Generator().manual_seed(0))
    found = guarded.certify(pictures, streams=streams_of(2))
    guarded(pictures, streams=streams_of(2))
    assert set(metric.sizes) == {(5, 5)}
    assert defense.certifies_at == 5
    assert RandomizedSmoothing().certifies_at is None
    small = RandomizedSmoothing(sigma=0.05, n0=4, n=8).protect(Mean())
    brought = resized(pictures, (5, 5), antialias=False)
    assert torch.equal(small.certify(brought, streams=streams_of(2)).draws, found.draws)
    # The noise is drawn at that size, and not shrunk with the image.
    noise = guarded.noisy(torch.full((1, 3, 400, 300), 0.5), Streams("n", ["a"])) - 0.5
    assert noise.shape == (1, 3, 5, 5)
    assert float(noise.std()) == pytest.approx(0.05, rel=0.3)


def test_a_reference_is_brought_to_the_same_resolution() -> None:
    guarded = RandomizedSmoothing(sigma=0.05, n0=4, n=8, resolution=5).protect(Mean(full_reference=True))
    images = greys(0.5, 0.6, size=(9, 12))
    found = guarded.certify(images, streams=streams_of(2), references=greys(0.4, 0.4, size=(9, 12)))
    assert (found.draws > 5).all()
    scores = guarded(images, streams=streams_of(2), reference=greys(0.4, 0.4, size=(9, 12)))
    assert scores.shape == (2,)


# --- early stops ----------------------------------------------------------------------------------------------------


def spent(found: Any) -> list[int]:
    return (~found.draws.isnan()).sum(dim=1).tolist()


def test_sampling_stops_when_the_decision_is_settled() -> None:
    metric, defense = Mean(), RandomizedSmoothing(sigma=0.2, n0=20, n=400, looks=4)
    # In the middle of a class; on the edge of two; and nearly so.
    found = defense.protect(metric).certify(greys(0.35, 0.4, 0.397), streams=streams_of(3))
    assert defense.sizes == (50, 100, 200, 400)
    assert spent(found)[0] == 50
    assert metric.rows == 3 * 20 + sum(spent(found))
    assert found.draws.shape == (3, 400)
    assert not found.abstained[0]
    fixed = RandomizedSmoothing(sigma=0.2, n0=20, n=400).protect(Mean())
    assert torch.equal(fixed.certify(greys(0.35), streams=streams_of(1)).draws[:, :50], found.draws[:1, :50])


def test_a_radius_out_of_reach_stops_as_one_that_is_certified() -> None:
    spans = {}
    for target in (0.0, 0.1, 0.3, 0.4, 5.0):
        defense = RandomizedSmoothing(sigma=0.2, n0=20, n=400, looks=4, target_radius=target)
        found = defense.protect(Mean()).certify(greys(0.35), streams=streams_of(1))
        spans[target] = (spent(found)[0], float(found.radius))
    assert spans[0.0][0] == 50
    assert spans[0.1] == spans[0.0]
    assert spans[0.3][0] > 50
    assert spans[0.3][1] >= 0.3
    assert spans[0.4][0] > spans[0.3][0]
    assert spans[0.4][1] >= 0.4
    # All 400 votes would not certify it.
    assert spans[5.0] == spans[0.0]
    split = RandomizedSmoothing(sigma=0.2, n0=20, n=400, looks=4, target_radius=0.5)
    assert spent(split.protect(Mean()).certify(greys(0.4), streams=streams_of(1))) == [50]


def test_a_median_stops_when_its_interval_is_narrow_enough() -> None:
    spans = []
    for target in (0.5, 0.02, 0.0):
        defense = MedianSmoothing(sigma=0.2, n=400, epsilon=0.05, looks=4, target_delta=target)
        found = defense.protect(Mean()).certify(greys(0.5), streams=streams_of(1))
        spans.append(spent(found)[0])
        assert not found.abstained.any()
        side = float(torch.maximum(found.upper - found.scores, found.scores - found.lower)) / 100
        assert side <= target or spans[-1] == 400
    assert spans[0] < spans[2] == 400
    assert spans == sorted(spans)


@pytest.mark.parametrize(("n", "looks", "sizes"), [(1000, 1, (1000,)), (10, 3, (3, 5, 10)), (2, 9, (1, 2))])
def test_each_look_comes_at_twice_the_samples_of_the_one_before(n: int, looks: int, sizes: tuple[int, ...]) -> None:
    assert RandomizedSmoothing(n=n, looks=looks).sizes == sizes


def test_every_look_is_granted_its_share_of_alpha() -> None:
    assert RandomizedSmoothing(alpha=0.01, looks=5).level(1) == pytest.approx(0.002)
    assert RandomizedSmoothing(alpha=0.01, looks=5).level(20) == pytest.approx(0.0001)
    assert MedianSmoothing(alpha=0.01).level(1) == 0.01


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n0": 0}, "n0=0"),
        ({"looks": 0}, "looks=0"),
        ({"resolution": 0}, "resolution of 0"),
        ({"alpha": 0.5}, "alpha < 0.5"),
        ({"sigma": 0}, "smoothing needs"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RandomizedSmoothing(**parameters)


def test_votes_without_a_selection_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="other samples") as caught:
        RandomizedSmoothing().certificates(torch.zeros(1, 10), score_range=(0.0, 1.0))
    assert caught.value.where.defense == "rs"


def test_a_percentile_outside_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="percentile"):
        MedianSmoothing(percentile=1.0)


def test_a_percentile_is_that_of_the_draws() -> None:
    defense = MedianSmoothing(sigma=0.2, n=300, epsilon=0.01, percentile=0.9)
    found = defense.protect(Mean()).certify(greys(0.5), streams=streams_of(1))
    assert float(found.scores) == pytest.approx(float(np.quantile(found.draws.numpy(), 0.9)), rel=1e-5)
    assert float(found.lower) > float(found.draws.median())
