"""A diffusion model: any size, and denoising at one stroke."""

from __future__ import annotations

import sys
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel, diffusers, small_network
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import CapabilityError, ConfigurationError

SCHEDULE = NoiseSchedule(linear_betas())


class Oracle(nn.Module):
    """Knows the clean image, and hence the noise."""

    config: ClassVar[dict[str, tuple[int, ...]]] = {"block_out_channels": (8,)}

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = 2 * clean - 1
        self.asked: list[int] = []

    def forward(self, noisy: Tensor, timestep: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        assert not return_dict
        self.asked.append(int(timestep))
        kept = SCHEDULE.retained[int(timestep)]
        noise = (noisy - kept**0.5 * self.clean) / (1 - kept) ** 0.5
        return (torch.cat([noise, torch.full_like(noise, 9.0)], dim=1),)


@pytest.fixture(scope="module")
def model(diffusion: None) -> NoiseModel:
    torch.manual_seed(0)
    return NoiseModel(small_network((8, 16, 24)), SCHEDULE).eval()


@pytest.mark.parametrize("sigma", [5 / 255, 25 / 255, 0.5])
def test_one_stroke_takes_away_what_the_network_says_is_noise(sigma: float) -> None:
    clean = torch.rand(2, 3, 9, 10)
    network = Oracle(clean)
    restored = NoiseModel(network, SCHEDULE).denoise(clean + sigma * torch.randn(clean.shape), sigma)
    assert torch.allclose(restored, clean, atol=1e-5)
    assert network.asked == [SCHEDULE.timestep(sigma)]


def test_noise_that_the_schedule_lacks_is_refused(model: NoiseModel) -> None:
    with pytest.raises(ConfigurationError, match="got sigma 0"):
        model.denoise(torch.rand(1, 3, 8, 8), 0.0)


@pytest.mark.parametrize("size", [(8, 12), (9, 15), (1, 1)])
def test_any_size_is_lengthened_to_the_stride_and_cut_back(model: NoiseModel, size: tuple[int, int]) -> None:
    assert model.stride == 4
    noisy = torch.randn(2, 3, *size)
    with torch.inference_mode():
        predicted = model.at(noisy, 7)
        rows = torch.cat([model(noisy, torch.tensor([7, 7]))])
    assert predicted.shape == noisy.shape
    assert torch.equal(predicted, rows)


def test_the_level_of_noise_is_told_to_the_network(model: NoiseModel) -> None:
    noisy = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        assert not torch.allclose(model.at(noisy, 5), model.at(noisy, 500), atol=1e-3)


@pytest.mark.usefixtures("diffusion")
def test_the_small_network_has_no_attention_and_few_parameters() -> None:
    network = small_network((16, 48, 96))
    assert not [name for name, _ in network.named_modules() if "attention" in name and name.endswith("to_q")]
    assert sum(value.numel() for value in network.parameters()) == 1_325_299


def test_without_diffusers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(CapabilityError, match=r"iqa-robustness\[diffusion\]"):
        diffusers()
