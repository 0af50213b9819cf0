"""Denoised smoothing: every sample is denoised, by the denoiser that is named; gradients, keys, refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.certified.denoised_smoothing import DenoisedMedianSmoothing, DenoisedSmoothing
from iqa_robustness.defenses.certified.denoisers import OneShotDiffusion, Purifying, denoiser, names
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.defenses.purification.diffpure import DiffPure, denoise
from iqa_robustness.defenses.purification.dncnn import DnCNNDenoising
from iqa_robustness.defenses.purification.ffdnet import FFDNetDenoising
from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import CapabilityError, ConfigurationError, UnknownNameError, WeightsError
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import document_of
from iqa_robustness.streams import Streams

BOTH = [DenoisedSmoothing, DenoisedMedianSmoothing]


class Roughness(Metric):
    """Mean square of the differences between neighbours: noise raises it, a denoiser lowers it."""

    def __init__(self, *, full_reference: bool = False) -> None:
        super().__init__()
        self.spec = MetricSpec(name="roughness", score_range=(0.0, 0.1), full_reference=full_reference)

    def forward(self, images: Tensor, *, reference: Tensor | None = None) -> Tensor:
        del reference
        return images.diff(dim=3).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class Spy(Purification):
    """Halves the contrast; keeps what it was given."""

    name: ClassVar[str] = "spy"
    version: ClassVar[int] = 1

    seen: list[Tensor] = field(default_factory=list, compare=False)

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        del streams
        self.seen.append(images.detach().clone())
        return 0.25 + images / 2


def greys(count: int) -> Tensor:
    return torch.full((count, 3, 6, 8), 0.5)


def streams_of(count: int) -> Streams:
    return Streams("key", [f"image-{row}" for row in range(count)])


def small(name: str, **parameters: Any) -> Smoothing:
    made = defenses.create(name, n=22, **({"n0": 9} if name.startswith("drs") else {}), **parameters)
    assert isinstance(made, Smoothing)
    return made


# --- every sample is denoised ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("drs", 9 + 22), ("dms", 22)])
def test_every_noisy_sample_passes_the_denoiser_once(kind: str, count: int) -> None:
    spy = Spy()
    found = small(kind, denoiser=spy).protect(Roughness()).certify(greys(2), streams=streams_of(2))
    seen = torch.cat(spy.seen)
    assert len(seen) == 2 * count
    assert len(seen.unique(dim=0)) == 2 * count
    # What it was given is the image with noise, and what was scored is what it returned.
    assert float((seen - 0.5).std()) == pytest.approx(0.12, rel=0.1)
    samples = torch.cat([found.selection, found.draws], dim=1).flatten()
    denoised = torch.stack([Roughness()(0.25 + image[None] / 2)[0] for image in seen])
    assert torch.allclose(samples.sort().values, denoised.sort().values, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rs", "ms"])
def test_it_is_smoothing_of_the_same_noise_and_not_the_same_scores(kind: str) -> None:
    sizes = {"n": 22, **({"n0": 9} if kind == "rs" else {})}
    plain = defenses.create(kind, **sizes).protect(Roughness())
    guarded = small(f"d{kind}", denoiser="gaussian-blur").protect(Roughness())
    before, after = (each.certify(greys(2), streams=streams_of(2)) for each in (plain, guarded))
    assert (after.draws < before.draws).all()
    assert float(after.draws.mean()) < 0.5 * float(before.draws.mean())
    same = small(f"d{kind}", denoiser=Spy()).protect(Roughness())
    # Halving the contrast quarters the roughness of the same noise.
    assert torch.allclose(4 * same.certify(greys(2), streams=streams_of(2)).draws, before.draws, rtol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_an_attack_on_it_is_given_denoised_samples_too(kind: type[Smoothing]) -> None:
    spy = Spy()
    kind(denoiser=spy).protect(Roughness())(greys(3), streams=streams_of(3))  # type: ignore[call-arg]
    assert [len(images) for images in spy.seen] == [3]


# --- which denoiser -------------------------------------------------------------------------------------------------


def test_without_dncnns_weights_the_default_is_the_bundled_diffusion_model_and_the_key_says_so(kept: Path) -> None:
    defense = DenoisedSmoothing()
    assert defense.denoises == OneShotDiffusion()
    stated = document_of(defense)["fields"]["denoiser"]
    assert stated["class"].endswith("OneShotDiffusion")
    assert stated["fields"]["weights"] == DiffPure().contents["weights"]
    (kept / "GD_Color_Blind.mat").write_bytes(b"present")
    other = DenoisedSmoothing()
    assert other.denoises == Purifying(purification=DnCNNDenoising())
    # It is in the key by its digest, and a file that is not the published one is refused.
    with pytest.raises(WeightsError, match=r"GD_Color_Blind.mat has sha256"):
        document_of(other)


def test_a_denoiser_that_is_named_is_never_another_one() -> None:
    defense = small("drs", denoiser="dncnn")
    with pytest.raises(WeightsError):
        defense.protect(Roughness()).certify(greys(1), streams=streams_of(1))
    with pytest.raises(WeightsError):
        document_of(defense)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diffusion", OneShotDiffusion()),
        ("jpeg", Purifying(purification=JPEG())),
        ("diffpure", Purifying(purification=DiffPure())),
        ("dncnn", Purifying(purification=DnCNNDenoising())),
        ("ffdnet", Purifying(purification=FFDNetDenoising(sigma=0.2))),
    ],
)
def test_names_make_denoisers_and_those_that_are_told_the_noise_are_told(name: str, expected: object) -> None:
    assert denoiser(name, sigma=0.2) == expected
    assert defenses.create(f"drs:{name}", sigma=0.2) == DenoisedSmoothing(denoiser=name, sigma=0.2)
    assert defenses.create(f"dms:{name}", sigma=0.2) == DenoisedMedianSmoothing(denoiser=name, sigma=0.2)
    assert name in names()


def test_two_purifications_make_one_denoiser_and_a_configured_one_is_taken_as_it_is() -> None:
    made = defenses.create("dms:gaussian-blur+unsharp")
    assert isinstance(made, DenoisedMedianSmoothing)
    assert isinstance(made.denoises, Purifying)
    assert made.denoises.purification.name == "gaussian-blur+unsharp"
    keys = {
        str(document_of(DenoisedSmoothing(denoiser=each)))
        for each in ("gaussian-blur", GaussianBlur(kernel_size=5), "jpeg", "diffusion")
    }
    assert len(keys) == 4
    assert document_of(DenoisedSmoothing(denoiser="gaussian-blur")) == document_of(
        DenoisedSmoothing(denoiser=GaussianBlur())
    )


@pytest.mark.parametrize(
    ("name", "error"),
    [("nonsense", UnknownNameError), ("rs", ConfigurationError), ("none", ConfigurationError)],
)
def test_what_is_no_denoiser_is_refused_when_the_defense_is_made(name: str, error: type[Exception]) -> None:
    for make in (lambda: DenoisedSmoothing(denoiser=name), lambda: defenses.create(f"dms:{name}")):
        with pytest.raises(error):
            make()


# --- gradients ------------------------------------------------------------------------------------------------------


def test_gradients_pass_through_a_differentiable_denoiser() -> None:
    defense = DenoisedSmoothing(denoiser="gaussian-blur", sigma=0.05)
    assert defense.differentiable is True
    guarded = defense.protect(Roughness())
    images = greys(2) + 0.1 * torch.rand((2, 3, 6, 8), generator=torch.Generator().manual_seed(1))
    leaf = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(guarded(leaf, streams=streams_of(2)).sum(), leaf)
    noisy = (images + 0.05 * streams_of(2).normal(3, 6, 8)).requires_grad_(True)
    (expected,) = torch.autograd.grad(Roughness()(GaussianBlur().purify(noisy)).sum(), noisy)
    assert torch.allclose(slope, expected, atol=1e-7)
    assert float(slope.abs().max()) > 0


@pytest.mark.parametrize("kind", ["drs", "dms"])
def test_one_without_a_gradient_has_its_surrogates(kind: str) -> None:
    defense = small(kind, denoiser="jpeg")
    assert defense.differentiable is False
    assert attack_protocol(defense, draws=4, white_box=True) == "bpda-diffjpeg+eot-4"
    assert attack_protocol(defense, draws=4, white_box=False) == "eot-4"
    assert attack_protocol(small(kind, denoiser="gaussian-blur"), draws=4, white_box=True) == "eot-4"
    images = 0.3 + 0.4 * torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    scorer = Scorer(metric=defense.protect(Roughness()), micro_batch=2)
    scores, slopes = scorer.scores_and_gradients(images, streams=streams_of(2))
    assert (slopes.flatten(1).norm(dim=1) > 0).all()
    assert torch.equal(scores, scorer.scores(images, streams=streams_of(2)))


# --- the bundled model ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("diffusion")
def test_the_bundled_model_is_given_the_noise_unclipped_and_takes_most_of_it_away(photographs: Any) -> None:
    image = torch.from_numpy(photographs[0]).permute(2, 0, 1)[None, :, :32, :48].float() / 255
    noise = Streams("n", ["a"]).normal(3, 32, 48)
    noisy = image + 0.12 * noise
    cleaned = OneShotDiffusion().denoised(noisy, sigma=0.12, streams=None)
    # At .12 the first level that is not below it is also the nearest one.
    assert torch.equal(cleaned, denoise(noisy, 0.12))
    assert float((cleaned - image).square().mean()) < 0.3 * float((noisy.clamp(0, 1) - image).square().mean())
    assert 0 <= float(cleaned.min()) <= float(cleaned.max()) <= 1
    guarded = DenoisedSmoothing(denoiser="diffusion").protect(Roughness())
    assert torch.equal(guarded.noisy(image, Streams("n", ["a"])), cleaned)


# --- full-reference metrics -----------------------------------------------------------------------------------------


def test_a_denoiser_that_moves_pixels_does_not_stand_before_a_reference() -> None:
    with pytest.raises(CapabilityError, match="moves pixels"):
        DenoisedSmoothing(denoiser="flip").protect(Roughness(full_reference=True))
    DenoisedSmoothing(denoiser="flip").protect(Roughness())
    guarded = small("dms", denoiser="jpeg").protect(Roughness(full_reference=True))
    assert guarded.certify(greys(1), streams=streams_of(1), references=greys(1)).draws.shape == (1, 22)
