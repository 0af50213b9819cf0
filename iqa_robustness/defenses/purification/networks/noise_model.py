"""A diffusion model: a network that tells the noise in an image from its level, and the levels it knows."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch
from torch import Tensor, nn

from iqa_robustness.compat import ensure_torchvision
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule
from iqa_robustness.defenses.purification.networks.padding import lengthened
from iqa_robustness.errors import CapabilityError


class NoiseModel(nn.Module):
    """Predicts the noise ε of x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε, where x_0 is an image scaled to [−1, 1].

    Args:
        network: a diffusers `UNet2DModel`, with 3 channels in and 3 out, or 6 where it learned the variance too.
        schedule: the noise levels it was trained on.
        variance: `fixed_small`, `fixed_large` or `learned_range`, as diffusers' DDPMScheduler names them.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, *, variance: str = "fixed_small") -> None:
        super().__init__()
        self.network, self.schedule, self.variance = network, schedule, variance
        config: Any = network.config
        self.stride = 2 ** (len(config["block_out_channels"]) - 1)

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """(N, 3, H, W) in units of the model, any size, and (N,) or () timesteps to (N, 3 or 6, H, W)."""
        height, width = noisy.shape[2:]
        predicted: Tensor = self.network(lengthened(noisy, self.stride), timesteps, return_dict=False)[0]
        return predicted[:, :, :height, :width]

    def at(self, noisy: Tensor, timestep: int) -> Tensor:
        """The same, with one timestep for all images."""
        predicted: Tensor = self(noisy, torch.tensor(timestep, device=noisy.device))
        return predicted

    def denoise(self, images: Tensor, sigma: float, *, timestep: int | None = None) -> Tensor:
        """x_0 at one stroke: the image without Gaussian noise of deviation `sigma` (units of 1).

        (N, 3, H, W) around [0, 1], not clamped, to the same shape, not clamped either. One forward.
        timestep: that the network is told; None for the one of the nearest noise level.
        Source: Carlini et al., ICLR 2023, Alg. 1; their timestep is the one of the nearest noise level, too.
        Raises: ConfigurationError for noise that the schedule does not have.
        """
        if timestep is None:
            timestep = self.schedule.timestep(sigma)
        kept = self.schedule.retained[timestep]
        noisy = kept**0.5 * (2 * images - 1)
        clean: Tensor = (noisy - (1 - kept) ** 0.5 * self.at(noisy, timestep)[:, :3]) / kept**0.5
        return (clean + 1) / 2


def small_network(channels: tuple[int, ...]) -> nn.Module:
    """A `UNet2DModel` without attention: any size, cost in proportion to the pixels.

    channels: of the levels, multiples of 8; each next level has half the sides.
    Raises: CapabilityError without diffusers.
    """
    levels = len(channels)
    network: nn.Module = diffusers().UNet2DModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
    )
    return network


def diffusers() -> Any:
    """The library, imported when first needed: it takes seconds. Raises CapabilityError without it."""
    # It wants torchvision where transformers is installed, and only there.
    with contextlib.suppress(ImportError):
        ensure_torchvision()
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise CapabilityError(
            "diffusion models need the library diffusers, which is not installed",
            fix="pip install 'iqa-robustness[diffusion]'",
        ) from error
