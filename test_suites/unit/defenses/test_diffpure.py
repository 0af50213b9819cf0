"""`diffpure`: noise and the way back, beside diffusers' own schedulers; its memory, tiles, keys and bundled model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.purification import diffpure as module
from iqa_robustness.defenses.purification.composition import Composition
from iqa_robustness.defenses.purification.diffpure import DiffPure, denoise
from iqa_robustness.defenses.purification.networks.diffusion_files import write_model
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel, diffusers, small_network
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.defenses.purification.unsharp import Unsharp
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.similarity import psnr
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams

CPU = torch.device("cpu")
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, diffusion: None) -> str:
    """A model with random weights, on disk: its results mean nothing, and follow from the input all the same."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("tiny")
    write_model(NoiseModel(small_network((8, 16)), NoiseSchedule(linear_betas())), folder, facts={})
    return str(folder)


def streams(ids: str = "ab") -> Streams:
    return Streams("key", [*ids])


def by_diffusers(defense: DiffPure, images: Tensor, drawn: Streams, *, path: list[int]) -> Tensor:
    """The same purification by diffusers' scheduler, whose generator is set to give each image's noise."""
    scheduler: Any = diffusers().DDPMScheduler(**LINEAR, clip_sample=True)
    scheduler.set_timesteps(timesteps=path)
    # In float32 as it has them, little is left of 1 − ᾱ near the image.
    scheduler.alphas_cumprod = torch.tensor(NoiseSchedule(linear_betas()).retained, dtype=torch.float64)
    network = defense.model(CPU).network
    noise = drawn.normal(*images.shape[1:])
    current = scheduler.add_noise(2 * images - 1, noise, torch.tensor(path[:1]))
    for timestep in path:
        predicted = network(current, timestep, return_dict=False)[0]
        if timestep == path[-1]:
            current = scheduler.step(predicted, timestep, current).pred_original_sample
            break
        with pytest.MonkeyPatch.context() as patch:
            ours = drawn.normal(*images.shape[1:])
            patch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, ours=ours, **__: ours)
            current = scheduler.step(predicted, timestep, current).prev_sample
    return ((current + 1) / 2).clamp(0, 1)


# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"steps": 50}, [49, 39, 29, 19, 9]),
        ({"steps": 3, "evaluations": 9}, [2, 1, 0]),
        ({"steps": 200, "evaluations": 1}, [199]),
    ],
)
def test_it_is_noise_and_the_steps_back_of_diffusers(
    tiny: str, noise: Callable[..., Tensor], parameters: dict[str, int], path: list[int]
) -> None:
    defense, images = DiffPure(weights=tiny, **parameters), noise(2, 8, 12)
    with torch.inference_mode():
        expected = by_diffusers(defense, images, streams(), path=path)
        purified = defense.purify(images, streams=streams())
    assert torch.allclose(purified, expected, atol=2e-5)
    assert not torch.allclose(purified, images, atol=1e-3)


def test_ddim_draws_once_and_ddpm_between_evaluations(tiny: str, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 8, 8)
    for sampler, draws in (("ddim", 1), ("ddpm", 4)):
        drawn, counted = streams("a"), streams("a")
        DiffPure(weights=tiny, sampler=sampler, steps=20, evaluations=4).purify(images, streams=drawn)  # type: ignore[arg-type]
        for _ in range(draws):
            counted.normal(3, 8, 8)
        assert torch.equal(drawn.normal(2), counted.normal(2))


def test_an_image_has_its_own_noise_in_any_company(tiny: str, noise: Callable[..., Tensor]) -> None:
    defense, images = DiffPure(weights=tiny, steps=50, evaluations=3), noise(3, 9, 10)
    together = defense.purify(images, streams=streams("abc"))
    alone = torch.cat([defense.purify(images[i : i + 1], streams=streams("abc"[i])) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(defense.purify(images, streams=streams("xyz")), together, atol=1e-2)
    assert len(defense.purify(images[:0], streams=streams(""))) == 0


def test_paper_goes_through_256_pixels_step_by_step(tiny: str, noise: Callable[..., Tensor]) -> None:
    images, side = noise(1, 24, 40), (256, 256)
    defense = DiffPure(weights=tiny, steps=6, paper=True)
    with torch.inference_mode():
        purified = defense.purify(images, streams=streams("a"))
        small = F.interpolate(images, side, mode="bilinear", align_corners=False)
        inner = by_diffusers(defense, small, streams("a"), path=[5, 4, 3, 2, 1, 0])
    expected = F.interpolate(inner, (24, 40), mode="bilinear", align_corners=False)
    # `by_diffusers` clamps before the second scaling, the published code after it.
    assert (purified - expected).abs().median() < 1e-4
    assert purified.shape == images.shape


def test_the_parameter_values_are_the_published_ones() -> None:
    assert (DiffPure.varied_parameter, *DiffPure.parameter_values) == ("steps", 5, 10, 20, 30, 50)
    assert DiffPure().steps == 5
    assert DiffPure.stochastic
    assert DiffPure.differentiable
    assert DiffPure.keeps_geometry


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"evaluations": 0}, {"tile": 15}, {"tile": -1}, {"sampler": "euler"}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))) as raised:
        DiffPure(**wrong)
    assert raised.value.where.defense == "diffpure"


def test_more_steps_than_the_model_has_and_no_streams_are_refused(tiny: str, noise: Callable[..., Tensor]) -> None:
    with pytest.raises(ConfigurationError, match="1001 steps are more than the model's 1000"):
        DiffPure(weights=tiny, steps=1001).purify(noise(1, 8, 8), streams=streams("a"))
    with pytest.raises(ConfigurationError, match="needs `streams`"):
        DiffPure(weights=tiny).purify(noise(1, 8, 8))


# --- tiles, memory, gradients -----------------------------------------------------------------------------------------


def test_tiles_bound_what_the_network_sees_and_are_part_of_the_key(
    tiny: str, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    at = NoiseModel.at
    monkeypatch.setattr(NoiseModel, "at", lambda self, x, t: seen.append(tuple(x.shape[2:])) or at(self, x, t))
    monkeypatch.setattr(module, "HALO", 4)
    images = noise(1, 40, 56)
    whole = DiffPure(weights=tiny, evaluations=1).purify(images, streams=streams("a"))
    assert seen == [(40, 56)]
    tiled = DiffPure(weights=tiny, evaluations=1, tile=16).purify(images, streams=streams("a"))
    assert max(max(size) for size in seen[1:]) <= 16 + 2 * 4
    assert tiled.shape == whole.shape
    # Its normalisations see other pixels: near, not equal.
    assert 0 < (tiled - whole).abs().max() < 0.2
    keys = {Key(document_of(DiffPure(weights=tiny, tile=tile))).digest for tile in (0, 16)}
    assert len(keys) == 2


def test_memory_does_not_grow_with_the_activations_of_each_step(tiny: str, noise: Callable[..., Tensor]) -> None:
    def held(evaluations: int) -> int:
        """Bytes that autograd keeps until the backward pass."""
        kept: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel() * tensor.element_size())
            return tensor

        images = noise(1, 64, 64).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            purified = DiffPure(weights=tiny, steps=50, evaluations=evaluations).purify(images, streams=streams("a"))
        assert purified.requires_grad
        return sum(kept)

    image = 3 * 64 * 64 * 4
    few, many = held(2), held(12)
    assert many - few <= 10 * 4 * image
    model = DiffPure(weights=tiny).model(CPU)
    activations: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: activations.append(4 * x.numel()) or x, lambda x: x):
        model.at(noise(1, 64, 64).requires_grad_(), 3)
    assert sum(activations) > 10 * 4 * image, "without checkpoints a single step would hold more than ten steps do now"


@pytest.mark.parametrize("parameters", [{}, {"tile": 16}, {"sampler": "ddim"}])
def test_the_gradient_is_that_of_the_steps(
    tiny: str, noise: Callable[..., Tensor], parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = DiffPure(weights=tiny, steps=50, evaluations=3, **parameters)
    weights = torch.linspace(-1, 1, 24)

    def gradient() -> tuple[Tensor, Tensor]:
        images = (0.3 + 0.4 * noise(2, 24, 24)).requires_grad_()
        purified = defense.purify(images, streams=streams())
        (slope,) = torch.autograd.grad((purified * weights).sum(), images)
        return purified.detach(), slope

    purified, slope = gradient()
    monkeypatch.setattr(module, "checkpoint", lambda function, *inputs, **_: function(*inputs))
    plain, plain_slope = gradient()
    assert torch.allclose(purified, plain, atol=1e-6)
    assert torch.allclose(slope, plain_slope, rtol=1e-4, atol=1e-6)
    assert (slope.flatten(1).norm(dim=1) > 0).all()
    with torch.no_grad():
        assert torch.allclose(defense.purify(0.3 + 0.4 * noise(2, 24, 24), streams=streams()), purified, atol=1e-6)


# --- names and keys ---------------------------------------------------------------------------------------------------


def test_a_key_holds_the_digests_of_the_model_and_not_its_place(tiny: str, tmp_path: Path) -> None:
    import shutil

    document = document_of(DiffPure(weights=tiny))
    names = [name for name, _ in document["fields"]["weights"]]
    assert names == ["diffusion_pytorch_model.safetensors", "config.json", "scheduler_config.json"]
    shutil.copytree(tiny, tmp_path / "copy")
    assert document_of(DiffPure(weights=str(tmp_path / "copy"))) == document
    assert document_of(DiffPure())["fields"]["weights"] != document["fields"]["weights"]
    with pytest.raises(WeightsError):
        document_of(DiffPure(weights=str(tmp_path / "gone")))


def test_a_model_is_loaded_once(tiny: str, tmp_path: Path, noise: Callable[..., Tensor]) -> None:
    assert DiffPure(weights=tiny).model(CPU) is DiffPure(weights=tiny, steps=9).model(CPU)
    with torch.inference_mode():
        DiffPure(weights=tiny).purify(noise(1, 8, 8), streams=streams("a"))
    assert not any(value.is_inference() for value in DiffPure(weights=tiny).model(CPU).parameters())


@pytest.mark.usefixtures("diffusion")
def test_diffpure_and_unsharp_are_one_defense_with_one_key(noise: Callable[..., Tensor]) -> None:
    composed, images = defenses.create("diffpure+unsharp"), noise(2, 16, 24)
    assert isinstance(composed, Composition)
    assert composed.name == "diffpure+unsharp"
    assert (composed.stochastic, composed.differentiable, composed.keeps_geometry) == (True, True, True)
    expected = Unsharp().purify(DiffPure().purify(images, streams=streams()))
    assert torch.equal(composed.purify(images, streams=streams()), expected)
    keys = {Key(document_of(made)).digest for made in (composed, DiffPure(), Unsharp())}
    assert len(keys) == 3
    assert Key(document_of(defenses.create("diffpure+unsharp"))).digest in keys


@pytest.mark.usefixtures("diffusion")
def test_it_is_available_where_diffusers_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert defenses.available("diffpure")
    monkeypatch.setattr(defenses, "find_spec", lambda _: None)
    assert not defenses.available("diffpure")
    assert defenses.available("jpeg")


# --- the bundled model ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("diffusion")
@pytest.mark.parametrize(("sigma", "gain"), [(10, 6.5), (15, 8.0), (25, 9.5), (50, 11.0)])
def test_the_bundled_model_takes_noise_off_photographs(photographs: np.ndarray, sigma: int, gain: float) -> None:
    clean = from_uint8(photographs)
    noisy = clean + sigma / 255 * Streams("noise", [*"abcd"]).normal(*clean.shape[1:])
    with torch.inference_mode():
        restored = denoise(noisy, sigma / 255)
    assert 0 <= float(restored.min()) <= float(restored.max()) <= 1
    better = psnr(clean, restored) - psnr(clean, noisy.clamp(0, 1))
    assert better.min() > 0
    assert better.mean() >= gain


@pytest.mark.usefixtures("diffusion")
def test_denoise_passes_gradients_and_refuses_noise_that_the_model_does_not_know(noise: Callable[..., Tensor]) -> None:
    images = noise(1, 16, 16).requires_grad_()
    (slope,) = torch.autograd.grad(denoise(images, 0.1).sum(), images)
    assert float(slope.abs().sum()) > 0
    assert len(denoise(images[:0], 0.1)) == 0
    with pytest.raises(ConfigurationError, match="sigma 100"):
        denoise(images, 100.0)


@pytest.mark.usefixtures("diffusion")
def test_a_purified_photograph_is_nearer_to_the_clean_one_than_the_disturbed_one(photographs: np.ndarray) -> None:
    clean = from_uint8(photographs)
    disturbed = (clean + 8 / 255 * Streams("signs", [*"abcd"]).signs(*clean.shape[1:])).clamp(0, 1)
    with torch.inference_mode():
        purified = DiffPure(steps=20).purify(disturbed, streams=streams("abcd"))
    assert (psnr(clean, purified) - psnr(clean, disturbed)).mean() > 2
