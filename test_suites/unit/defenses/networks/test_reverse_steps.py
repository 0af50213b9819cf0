"""Steps of reverse diffusion against diffusers' schedulers, given the noise that these draw."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from iqa_robustness.defenses.purification.networks.noise_model import diffusers
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.defenses.purification.networks.reverse_steps import Step, ddim, ddpm, spaced

SCHEDULE = NoiseSchedule(linear_betas())
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def step(timestep: int, after: int) -> Step:
    kept = SCHEDULE.retained
    return Step(timestep=timestep, kept=kept[timestep], kept_after=kept[after] if after >= 0 else 1.0)


def state(channels: int) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(2)
    noisy = torch.randn((2, 3, 6, 7), generator=generator)
    return noisy, torch.randn((2, channels, 6, 7), generator=generator).clamp(-1, 1)


@pytest.mark.usefixtures("diffusion")
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize("path", [(9, 8), (1, 0, -1), (49, 39, 29, 19, 9), (19, 3, 0, -1)])
def test_ddpm_is_that_of_diffusers(variance: str, path: tuple[int, ...]) -> None:
    theirs: Any = diffusers().DDPMScheduler(**LINEAR, variance_type=variance, clip_sample=True)
    theirs.set_timesteps(timesteps=[timestep for timestep in path if timestep >= 0])
    noisy, predicted = state(6 if variance == "learned_range" else 3)
    for timestep, after in pairwise(path):
        expected = theirs.step(predicted, timestep, noisy, generator=Generator().manual_seed(7)).prev_sample
        noise = torch.randn(noisy.shape, generator=Generator().manual_seed(7))
        found = ddpm(noisy, predicted, step(timestep, after), noise, variance=variance)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("diffusion")
def test_ddim_is_that_of_diffusers() -> None:
    theirs: Any = diffusers().DDIMScheduler(**LINEAR, clip_sample=True)
    theirs.set_timesteps(100)
    noisy, predicted = state(3)
    for timestep, after in ((89, 79), (49, 39), (9, -1)):
        expected = theirs.step(predicted, timestep, noisy, use_clipped_model_output=True).prev_sample
        torch.testing.assert_close(ddim(noisy, predicted, step(timestep, after)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_with_the_true_noise_every_path_leads_back_to_the_image(sampler: str) -> None:
    clean = torch.rand(1, 3, 5, 5) * 2 - 1
    path = spaced(50, 4)
    current = SCHEDULE.retained[49] ** 0.5 * clean + (1 - SCHEDULE.retained[49]) ** 0.5 * torch.randn(1, 3, 5, 5)
    for timestep, after in zip(path, (*path[1:], -1), strict=True):
        here = step(timestep, after)
        truth = (current - here.kept**0.5 * clean) / (1 - here.kept) ** 0.5
        noise = torch.randn(current.shape)
        current = (
            ddim(current, truth, here)
            if sampler == "ddim"
            else ddpm(current, truth, here, noise, variance="fixed_small")
        )
    assert torch.allclose(current, clean, atol=1e-4)


def test_the_last_step_reads_no_noise() -> None:
    noisy, predicted = state(3)
    assert step(0, -1).last
    given_none, given_some = (
        ddpm(noisy, predicted, step(9, -1), noise, variance="fixed_large") for noise in (None, torch.ones_like(noisy))
    )
    assert torch.equal(given_none, given_some)
    assert float(given_none.abs().max()) <= 1


@given(steps=st.integers(1, 1000), evaluations=st.integers(1, 1000))
def test_evaluations_fall_evenly_from_the_noisiest(steps: int, evaluations: int) -> None:
    path = spaced(steps, evaluations)
    assert len(path) == min(steps, evaluations)
    assert path[0] == steps - 1
    strides = {before - after for before, after in zip(path, (*path[1:], -1), strict=True)}
    assert min(strides) >= 1
    assert max(strides) - min(strides) <= 1


def test_all_steps_are_all_timesteps() -> None:
    assert spaced(5, 5) == (4, 3, 2, 1, 0)
    assert spaced(50, 5) == (49, 39, 29, 19, 9)
    assert spaced(50, 1) == (49,)
