"""Diffusion models on disk: folders of diffusers, the hub's cache, a checkpoint, and what is wrong with others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iqa_robustness.defenses.purification.networks import diffusion_files
from iqa_robustness.defenses.purification.networks.diffusion_files import (
    CONFIG,
    SCHEDULER,
    TENSORS,
    ModelFiles,
    model_files,
    read_model,
    write_model,
)
from iqa_robustness.defenses.purification.networks.guided_diffusion import guided_network
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel, diffusers, small_network
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.weights import sha256_of

# What `git` holds and the model card names.
BUNDLED_SHA256 = "b9ee9dd54a0204caee45e1d926ce7b1449bd1a0d3ddec000ba7f3d5266aa4cc0"
NOISY = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


@pytest.fixture(scope="module")
def model(diffusion: None) -> NoiseModel:
    torch.manual_seed(1)
    return NoiseModel(small_network((8, 16)), NoiseSchedule(linear_betas(200, 1e-3, 0.03))).eval()


@pytest.fixture
def folder(model: NoiseModel, tmp_path: Path) -> Path:
    write_model(model, tmp_path / "model", facts={"training": "a note"})
    return tmp_path / "model"


def outcome(model: NoiseModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval().at(NOISY, 9)


def described(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_written_model_is_read_again_at_half_precision(model: NoiseModel, folder: Path) -> None:
    read = read_model(model_files(str(folder)))
    assert torch.allclose(outcome(read), outcome(model), atol=5e-3)
    assert {value.dtype for value in read.parameters()} == {torch.float32}
    assert read.schedule.betas == pytest.approx(model.schedule.betas, rel=1e-5)
    assert read.variance == "fixed_small"


def test_diffusers_itself_reads_it(folder: Path) -> None:
    network = diffusers().UNet2DModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)
    scheduler = diffusers().DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    with torch.inference_mode():
        predicted = network(NOISY, 9, return_dict=False)[0]
    assert torch.equal(predicted, outcome(read_model(model_files(str(folder)))))
    assert len(scheduler) == 200


def test_what_diffusers_wrote_is_read(tmp_path: Path, model: NoiseModel) -> None:
    scheduler = diffusers().DDPMScheduler(beta_schedule="scaled_linear", num_train_timesteps=100)
    diffusers().DDPMPipeline(unet=model.network, scheduler=scheduler).save_pretrained(tmp_path)
    read = read_model(model_files(str(tmp_path)))
    assert torch.equal(outcome(read), outcome(model))
    assert read.schedule.retained == pytest.approx(scheduler.alphas_cumprod.tolist(), rel=1e-5)


def test_all_may_lie_in_one_folder_and_the_tensors_in_a_bin(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    torch.save(load_file(folder / "unet" / TENSORS[0]), flat / TENSORS[1])
    shutil.copy(folder / "unet" / CONFIG, flat)
    shutil.copy(folder / "scheduler" / SCHEDULER, flat)
    found = model_files(str(flat))
    assert {path.parent for path in found.paths} == {flat}
    assert torch.equal(outcome(read_model(found)), outcome(read_model(model_files(str(folder)))))


def test_a_model_of_the_hub_is_taken_from_its_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    entry = cache / "models--someone--ddpm-tiny"
    shutil.copytree(folder, entry / "snapshots" / "0123abcd")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("0123abcd")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    found = model_files("someone/ddpm-tiny")
    assert found.tensors.is_relative_to(entry)
    with pytest.raises(WeightsError, match="nor a model in the hub's cache") as raised:
        model_files("someone/another")
    assert "hf download someone/another" in raised.value.fix


@pytest.mark.usefixtures("diffusion")
def test_a_checkpoint_of_guided_diffusion_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_their_names: Callable[..., dict[str, Any]]
) -> None:
    small = partial(guided_network, channels=(8, 16), attention_levels=(1,), layers=1, head_channels=8, groups=4)
    monkeypatch.setattr(diffusion_files, "guided_network", small)
    network = small()
    path = tmp_path / "256x256_diffusion_uncond.pt"
    torch.save(in_their_names(network), path)
    read = read_model(model_files(str(path)))
    assert torch.equal(outcome(read), outcome(NoiseModel(network, read.schedule)))
    assert outcome(read).shape == (1, 6, 8, 8)
    assert (read.variance, len(read.schedule)) == ("learned_range", 1000)
    torch.save(in_their_names(network) | {"label_emb.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"unexpected label_emb\.weight"):
        read_model(ModelFiles(tensors=path))


def test_its_bare_name_is_the_one_in_the_folder_of_weights(kept: Path) -> None:
    with pytest.raises(WeightsError, match=r"needs the weights 256x256_diffusion_uncond\.pt"):
        model_files("256x256_diffusion_uncond.pt")
    (kept / "256x256_diffusion_uncond.pt").write_bytes(b"x")
    assert model_files("256x256_diffusion_uncond.pt").tensors.parent == kept


# --- what is bundled --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("diffusion")
def test_the_bundled_model_is_the_declared_one() -> None:
    files = model_files("")
    assert sha256_of(files.tensors) == BUNDLED_SHA256
    assert files.tensors.stat().st_size <= 4_000_000
    read = read_model(files)
    assert sum(value.numel() for value in read.parameters()) == 1_325_299
    assert read.schedule.betas == pytest.approx(linear_betas(), rel=1e-5)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [Path("unet") / CONFIG, Path("unet") / TENSORS[0], Path("scheduler") / SCHEDULER])
def test_a_folder_that_lacks_a_file_names_it(folder: Path, missing: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises(WeightsError, match="lacks this file") as raised:
        model_files(str(folder))
    assert raised.value.where.file == str(folder / missing)


@pytest.mark.parametrize("weights", ["/no/such/place", "gone.pt", "one/gone.safetensors"])
def test_what_is_not_there_is_no_model(weights: str) -> None:
    with pytest.raises(WeightsError, match="there is no file or folder"):
        model_files(weights)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (Path("unet") / CONFIG, {"_class_name": "UNet2DConditionModel"}, "this describes 'UNet2DConditionModel'"),
        (Path("unet") / CONFIG, {"in_channels": 1}, "with 1 channels in"),
        (Path("unet") / CONFIG, {"block_out_channels": [8, 24]}, "do not fit diffpure: misshapen"),
        (Path("unet") / CONFIG, {"norm_num_groups": 7}, "makes no network"),
        (Path("scheduler") / SCHEDULER, {"prediction_type": "v_prediction"}, "predicts 'v_prediction'"),
        (Path("scheduler") / SCHEDULER, {"variance_type": "learned_range"}, "beside 3 channels"),
        (Path("scheduler") / SCHEDULER, {"beta_schedule": "steep"}, "makes no schedule"),
    ],
)
def test_another_kind_of_model_is_refused(folder: Path, part: Path, changes: dict[str, Any], message: str) -> None:
    described(folder / part, **changes)
    with pytest.raises(WeightsError, match=message) as raised:
        read_model(model_files(str(folder)))
    assert raised.value.fix


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_a_broken_description_is_refused(folder: Path, content: str) -> None:
    (folder / "unet" / CONFIG).write_text(content)
    with pytest.raises(WeightsError):
        read_model(model_files(str(folder)))
