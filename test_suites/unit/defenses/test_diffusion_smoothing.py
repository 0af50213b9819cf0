"""Smoothing by a diffusion model: the noise level it is told, and the vote of several ways back."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.certified.denoisers import OneShotDiffusion, ReverseDiffusion
from iqa_robustness.defenses.certified.diffusion_smoothing import DensePure, DiffusionDenoisedSmoothing
from iqa_robustness.defenses.certified.score_classes import ScoreClasses
from iqa_robustness.defenses.purification.diffpure import DiffPure
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.store import document_of
from iqa_robustness.streams import Streams

pytest.importorskip("diffusers")


class Mean(Metric):
    """The mean level in per cent; counts what it scored."""

    spec = MetricSpec(name="mean", score_range=(0.0, 100.0))

    def __init__(self) -> None:
        super().__init__()
        self.sizes: Counter[tuple[int, ...]] = Counter()

    def forward(self, images: Tensor) -> Tensor:
        self.sizes[tuple(images.shape[2:])] += int(images.flatten(1).any(dim=1).sum())
        return 100 * images.mean(dim=(1, 2, 3))


class Forwards:
    """What a diffusion model is asked: timesteps, and how many images at each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: Counter[int] = Counter()
        at = NoiseModel.at

        def counted(model: NoiseModel, noisy: Tensor, timestep: int) -> Tensor:
            self.asked[timestep] += len(noisy)
            return at(model, noisy, timestep)

        monkeypatch.setattr(NoiseModel, "at", counted)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    return Forwards(monkeypatch)


@pytest.fixture(scope="session")
def image() -> Tensor:
    """A smooth picture, (1, 3, 16, 16)."""
    ramp = torch.linspace(0.2, 0.7, 16)
    return torch.stack([ramp[:, None].expand(16, 16), ramp[None].expand(16, 16), (ramp[:, None] + ramp) / 2])[None]


def streams_of(*ids: str) -> Streams:
    return Streams("key", ids)


# --- the noise level ------------------------------------------------------------------------------------------------


def test_the_published_noise_is_that_of_timestep_70() -> None:
    schedule = NoiseSchedule(linear_betas())
    timestep = schedule.timestep_from(0.12)
    kept = schedule.retained
    assert timestep == 70
    assert ((1 - kept[70]) / kept[70]) ** 0.5 >= 0.24 > ((1 - kept[69]) / kept[69]) ** 0.5


@given(st.floats(0.006, 70))
@settings(max_examples=50, deadline=None)
def test_the_timestep_is_the_first_whose_noise_is_not_below_sigma(sigma: float) -> None:
    schedule = NoiseSchedule(linear_betas())
    timestep = schedule.timestep_from(sigma)
    assert schedule.sigmas[timestep] >= sigma
    assert timestep == 0 or schedule.sigmas[timestep - 1] < sigma


@pytest.mark.parametrize("sigma", [1e-4, 1e4])
def test_noise_that_the_schedule_does_not_have_is_refused(sigma: float, image: Tensor) -> None:
    with pytest.raises(ConfigurationError, match="the model knows noise"):
        NoiseSchedule(linear_betas()).timestep_from(sigma)
    with pytest.raises(ConfigurationError, match="the model knows noise"):
        DiffusionDenoisedSmoothing(sigma=sigma, n0=1, n=1).protect(Mean()).certify(image, streams=streams_of("a"))


# --- one stroke -----------------------------------------------------------------------------------------------------


def test_each_sample_is_denoised_by_one_forward_of_the_model(image: Tensor, forwards: Forwards) -> None:
    metric = Mean()
    found = DiffusionDenoisedSmoothing(n0=3, n=10).protect(metric).certify(image, streams=streams_of("a"))
    assert forwards.asked == {70: 13}
    assert metric.sizes == {(16, 16): 13}
    assert int(found.classes) == 5
    assert float(found.scores) == 45


def test_as_published_it_certifies_the_image_brought_to_256(image: Tensor) -> None:
    metric, defense = Mean(), DiffusionDenoisedSmoothing(n0=1, n=1, paper=True)
    assert defense.certifies_at == 256
    assert DiffusionDenoisedSmoothing().certifies_at is None
    assert DiffusionDenoisedSmoothing(resolution=40, paper=True).certifies_at == 40
    defense.protect(metric)(image, streams=streams_of("a"))
    assert set(metric.sizes) == {(256, 256)}


def test_gradients_pass_through_the_model(image: Tensor) -> None:
    for defense in (DiffusionDenoisedSmoothing(sigma=0.05), DensePure(sigma=0.05)):
        leaf = image.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(defense.protect(Mean())(leaf, streams=streams_of("a")).sum(), leaf)
        assert defense.differentiable is True
        # The denoised mean follows the image's own.
        assert float(slope.sum()) == pytest.approx(100, rel=0.35)


def test_the_key_holds_the_digests_of_the_model() -> None:
    for defense in (DiffusionDenoisedSmoothing(), DensePure()):
        assert document_of(defense)["fields"]["weights"] == DiffPure().contents["weights"]


# --- a vote of several ways back ------------------------------------------------------------------------------------


def test_every_noisy_sample_goes_back_several_times_and_each_way_is_scored(image: Tensor, forwards: Forwards) -> None:
    metric = Mean()
    defense = DensePure(n0=2, n=5, reverse_samples=3, evaluations=2)
    found = defense.protect(metric).certify(image, streams=streams_of("a"))
    assert forwards.asked == {70: 7 * 3, 35: 7 * 3}
    assert metric.sizes == {(16, 16): 7 * 3}
    assert found.draws.shape == (1, 5)
    assert found.selection.shape == (1, 2)
    assert found.scores.tolist() == [45]


def test_as_published_there_is_one_way_back_and_no_vote(image: Tensor, forwards: Forwards) -> None:
    defense = DensePure(n0=1, n=2, resolution=16, paper=True)
    defense.protect(Mean()).certify(image, streams=streams_of("a"))
    assert forwards.asked == {70: 3, 35: 3}
    assert DensePure(paper=True).certifies_at == 256


def test_ways_back_from_one_sample_differ_and_are_the_images_own(image: Tensor) -> None:
    noisy = (image + 0.12 * streams_of("noise").normal(3, 16, 16)).repeat(2, 1, 1, 1)
    streams = streams_of("a", "b")
    once, again = (ReverseDiffusion().denoised(noisy, sigma=0.12, streams=streams) for _ in range(2))
    assert not torch.equal(once, again)
    assert not torch.equal(once[0], once[1])
    alone = ReverseDiffusion().denoised(noisy[1:], sigma=0.12, streams=streams_of("b"))
    assert torch.allclose(alone, once[1:], atol=1e-5)
    one_shot = OneShotDiffusion().denoised(noisy, sigma=0.12, streams=None)
    assert float((once - one_shot).abs().mean()) < 0.05


def test_one_evaluation_on_the_way_back_is_the_one_shot_estimate(image: Tensor) -> None:
    noisy = image + 0.12 * streams_of("noise").normal(3, 16, 16)
    back = ReverseDiffusion(evaluations=1).denoised(noisy, sigma=0.12, streams=streams_of("a"))
    assert torch.allclose(back, OneShotDiffusion().denoised(noisy, sigma=0.12, streams=None), atol=1e-5)


@given(st.lists(st.lists(st.floats(-20, 120), min_size=4, max_size=4), min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_a_draw_is_a_score_of_the_class_with_the_most_ways_back(rows: list[list[float]]) -> None:
    scores, bounds = torch.tensor(rows), (0.0, 100.0)
    settled = DensePure(reverse_samples=4).settle(scores, bounds)
    classes = ScoreClasses(bounds).of(scores).tolist()
    for row, of_each, draw in zip(scores.tolist(), classes, settled.tolist(), strict=True):
        votes = Counter(of_each)
        most = min(number for number, count in votes.items() if count == max(votes.values()))
        assert draw == next(score for score, number in zip(row, of_each, strict=True) if number == most)


def test_the_vote_decides_the_class_that_a_sample_counts_for() -> None:
    scores = torch.tensor([[42.0, 81.0, 83.0], [15.0, 88.0, 12.0], [5.0, 25.0, 95.0]])
    assert DensePure().settle(scores, (0.0, 100.0)).tolist() == [81, 15, 5]
    assert DiffusionDenoisedSmoothing().settle(scores, (0.0, 100.0)).tolist() == [42, 15, 5]


# --- repeatability and refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddrs", "densepure"])
def test_an_image_gets_the_same_certificate_in_any_company(name: str, image: Tensor) -> None:
    guarded = defenses.create(name, n0=3, n=6, **({"reverse_samples": 2} if name == "densepure" else {})).protect(
        Mean()
    )
    images = torch.cat([image, image.flip(2), 1 - image])
    whole = guarded.certify(images, streams=streams_of("a", "b", "c"))
    part = guarded.certify(images[[2, 0]], streams=streams_of("c", "a"))
    for field in ("draws", "selection", "classes", "votes", "radius"):
        assert torch.equal(getattr(part, field), getattr(whole, field)[[2, 0]]), field


def test_without_images_there_is_nothing_to_denoise(image: Tensor) -> None:
    for name in ("ddrs", "densepure"):
        found = defenses.create(name, n0=2, n=4).protect(Mean()).certify(image[:0], streams=streams_of())
        assert found.draws.shape == (0, 4)
    for one in (OneShotDiffusion(), ReverseDiffusion()):
        assert one.denoised(image[:0], sigma=0.12, streams=streams_of()).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("parameter", ["evaluations", "reverse_samples"])
def test_a_vote_takes_ways_back(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{parameter} must be at least 1"):
        DensePure(**{parameter: 0})


def test_reverse_diffusion_draws_and_says_so(image: Tensor) -> None:
    with pytest.raises(ConfigurationError, match="needs `streams`"):
        ReverseDiffusion().denoised(image, sigma=0.12, streams=None)
