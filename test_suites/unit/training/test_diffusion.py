"""Training the small diffusion model: that it learns, repeats itself, goes on where it stopped, and what it writes."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from iqa_robustness import datasets
from iqa_robustness.attacks import checkpoint
from iqa_robustness.datasets.base import Dataset
from iqa_robustness.datasets.mini import Mini
from iqa_robustness.defenses.purification.networks.diffusion_files import TENSORS, model_files, read_model
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.training import diffusion
from iqa_robustness.training.diffusion import (
    SIDE,
    UNUSUAL,
    USUAL_SIGMAS,
    Recipe,
    denoising_psnr,
    fit_diffusion,
    learning_rate,
)
from iqa_robustness.training.network_fit import Schedule
from iqa_robustness.training.progress import Progress

pytestmark = pytest.mark.usefixtures("diffusion")

SHORT = Schedule(steps=6, batch=2, learning_rate=2e-3, weight_decay=0.0, averaging=0.9)
RECIPE = Recipe(schedule=SHORT, channels=(8, 16), seed=4)
LEVELS = NoiseSchedule(linear_betas())


def folder_of(path: Path, *, side: int = 80) -> str:
    """Two photographs with a table, as a reference."""
    path.mkdir()
    mini = Mini()
    with (path / "mos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "mos"])
        for content in ("coffee", "chelsea"):
            Image.fromarray(mini.reference(content)[60 : 60 + side, 90 : 90 + side + 8]).save(path / f"{content}.png")
            rows.writerow([f"{content}.png", 0])
    return f"folder:{path}"


@pytest.fixture
def photographs(tmp_path: Path) -> list[Dataset]:
    return [datasets.load(folder_of(tmp_path / "photographs"))]


def same(first: NoiseModel, second: NoiseModel) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


# --- learning ---------------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone(photographs: list[Dataset]) -> None:
    before = torch.get_rng_state()
    first, second = (fit_diffusion(photographs, RECIPE) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, second)
    assert not same(first, fit_diffusion(photographs, replace(RECIPE, seed=5)))
    assert not first.training
    assert not any(value.requires_grad for value in first.parameters())


def test_it_learns_to_tell_the_noise(photographs: list[Dataset]) -> None:
    longer = replace(RECIPE, schedule=replace(SHORT, steps=60, batch=4, averaging=0.95))
    model = fit_diffusion(photographs, longer)
    reached = denoising_psnr(model, photographs)
    assert set(reached) == {"15", "25", "50"}
    # Of the noisy photographs themselves: 24.6, 20.2 and 14.2 dB, less where noise is clipped.
    assert reached["25"] > 21
    assert reached["50"] > 16
    assert reached == denoising_psnr(model, photographs)


def test_bfloat16_learns_nearly_the_same(photographs: list[Dataset]) -> None:
    exact, rounded = (fit_diffusion(photographs, replace(RECIPE, bfloat16=chosen)) for chosen in (False, True))
    assert {value.dtype for value in rounded.parameters()} == {torch.float32}
    noisy = torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        difference = (exact.at(noisy, 50) - rounded.at(noisy, 50)).abs().mean()
    assert 0 < difference < 0.1


def test_the_learning_rate_rises_at_first_and_falls_to_zero() -> None:
    schedule = replace(SHORT, steps=1000)
    rates = [learning_rate(schedule, step) for step in range(1000)]
    highest = int(np.argmax(rates))
    assert highest == 50
    assert rates[highest] == pytest.approx(2e-3)
    assert (np.diff(rates[: highest + 1]) > 0).all()
    assert (np.diff(rates[highest:]) < 0).all()
    assert 0 < rates[0] < 1e-4
    assert 0 < rates[-1] < 1e-5


def test_most_of_the_noise_has_the_levels_of_purification(photographs: list[Dataset]) -> None:
    pixels, recipe = diffusion._pixels(photographs), replace(RECIPE, schedule=replace(SHORT, batch=500))
    noisy, timesteps, noise = diffusion._batch(pixels, LEVELS, recipe, 3)
    sigmas = LEVELS.sigmas[timesteps.numpy()]
    usual = (sigmas > 0.9 * USUAL_SIGMAS[0]) & (sigmas < 1.1 * USUAL_SIGMAS[1])
    # A quarter of the schedule lies there as well.
    assert usual.mean() == pytest.approx(1 - UNUSUAL * 0.78, abs=0.04)
    logarithms = np.log(sigmas[usual])
    assert np.median(logarithms) == pytest.approx(np.log(USUAL_SIGMAS).mean(), abs=0.25)
    assert noisy.shape == noise.shape == (500, 3, SIDE, SIDE)
    kept = torch.tensor([LEVELS.retained[int(t)] for t in timesteps], dtype=torch.float32)[:, None, None, None]
    clean = (noisy - (1 - kept).sqrt() * noise) / kept.sqrt()
    few = kept.flatten() > 0.5
    assert clean[few].abs().max() <= 1 + 1e-4
    assert float(noise.std()) == pytest.approx(1, abs=0.01)


# --- going on ---------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_a_stopped_training_goes_on_to_the_same_weights(
    photographs: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    path, firsts = tmp_path / "unfinished.safetensors", []

    class Stopping(Progress):
        def at(self, done: int, note: str = "") -> None:
            if done == 4:
                raise Stopped

    with pytest.raises(Stopped):
        fit_diffusion(
            photographs, RECIPE, checkpoint=path, progress=lambda first: Stopping(label="steps", total=6, start=first)
        )
    assert path.is_file()

    def noting(first: int) -> Progress:
        firsts.append(first)
        return Progress(label="steps", total=6, start=first)

    resumed = fit_diffusion(photographs, RECIPE, checkpoint=path, progress=noting)
    assert firsts == [3]
    assert same(resumed, fit_diffusion(photographs, RECIPE))
    fit_diffusion(photographs, replace(RECIPE, seed=9), checkpoint=path, progress=noting)
    assert firsts == [3, 0], "a checkpoint of another recipe is not taken up"


# --- the command ------------------------------------------------------------------------------------------------------


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    diffusion.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_writes_a_model_that_diffpure_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, out = folder_of(tmp_path / "photographs"), tmp_path / "out"
    threads = torch.get_num_threads()
    arguments = ["--photographs", reference, "--out", str(out), "--steps", "3", "--batch", "2", "--channels", "8", "16"]
    assert diffusion.run(options(*arguments, "--unseen", reference, "--threads", str(threads))) == 0
    files = model_files(str(out))
    with safe_open(files.tensors, framework="pt") as file:
        facts = json.loads(file.metadata()["training"])
    assert facts["recipe"]["schedule"]["steps"] == 3
    assert facts["recipe"]["channels"] == [8, 16]
    assert facts["photographs"] == {"count": 2, "digest": [datasets.load(reference).digest]}
    assert set(facts["psnr"]) == {"15", "25", "50"}
    model = read_model(files)
    fitted = fit_diffusion(
        [datasets.load(reference)],
        Recipe(
            schedule=Schedule(steps=3, batch=2, learning_rate=1e-3, weight_decay=0.0, averaging=0.999), channels=(8, 16)
        ),
    )
    for name, value in fitted.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value.half().float())
    assert not (out / "unfinished.safetensors").exists()
    assert sorted(path.name for path in (out / "unet").iterdir()) == ["config.json", TENSORS[0]]
    assert "psnr" in capsys.readouterr().out


def test_a_photograph_that_is_too_small_is_named(tmp_path: Path) -> None:
    reference = folder_of(tmp_path / "small", side=60)
    with pytest.raises(ConfigurationError, match="smaller than 64 × 64") as raised:
        fit_diffusion([datasets.load(reference)], RECIPE)
    assert raised.value.where.image == "coffee"


def test_without_photographs_there_is_nothing_to_learn() -> None:
    with pytest.raises(ConfigurationError, match="no photograph"):
        fit_diffusion([], RECIPE)
