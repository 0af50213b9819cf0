"""Noise levels against diffusers' scheduler and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.defenses.purification.networks.noise_model import diffusers
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import ConfigurationError

SCHEDULE = NoiseSchedule(linear_betas())


@pytest.mark.usefixtures("diffusion")
def test_it_is_the_linear_schedule_of_diffusers() -> None:
    theirs = diffusers().DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert len(SCHEDULE) == len(theirs) == 1000
    np.testing.assert_allclose(SCHEDULE.betas, theirs.betas.numpy(), rtol=1e-5)
    np.testing.assert_allclose(SCHEDULE.retained, theirs.alphas_cumprod.numpy(), rtol=1e-4)


def test_sigma_is_the_deviation_beside_an_image_in_0_to_1() -> None:
    draw = np.random.default_rng(0)
    clean, noise = draw.uniform(size=40_000), draw.standard_normal(40_000)
    for timestep in (4, 49, 200):
        kept = SCHEDULE.retained[timestep]
        scaled = kept**0.5 * (2 * clean - 1) + (1 - kept) ** 0.5 * noise
        beside = (scaled / kept**0.5 + 1) / 2 - clean
        assert beside.std() == pytest.approx(SCHEDULE.sigmas[timestep], rel=0.02)


@pytest.mark.parametrize(("steps", "sigma"), [(5, 3.4), (10, 5.6), (20, 9.7), (30, 13.8), (50, 22.0)])
def test_the_published_steps_are_these_noise_levels(steps: int, sigma: float) -> None:
    assert 255 * SCHEDULE.sigmas[steps - 1] == pytest.approx(sigma, abs=0.05)


@given(timestep=st.integers(0, 998), error=st.floats(-0.0015, 0.0015))
def test_the_timestep_of_a_sigma_is_found_again(timestep: int, error: float) -> None:
    # Neighbours differ by 0.5 % at least.
    assert SCHEDULE.timestep(SCHEDULE.sigmas[timestep] * (1 + error)) == timestep


@pytest.mark.parametrize("sigma", [0.0, 0.002, 79.0, -1.0, float("nan")])
def test_noise_that_no_timestep_comes_near_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match=r"the model knows noise of 0\.0025 to 79"):
        SCHEDULE.timestep(sigma)


@pytest.mark.parametrize("betas", [(), (0.1, 0.0), (0.1, 1.0)])
def test_betas_lie_between_0_and_1(betas: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError):
        NoiseSchedule(betas)
