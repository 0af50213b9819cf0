"""DiffPure: drown a perturbation in noise, and let a diffusion model take the noise away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.network import KEPT_NETWORKS, SMALLEST_TILE, Stamp
from iqa_robustness.defenses.purification.networks.diffusion_files import model_files, read_model
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel
from iqa_robustness.defenses.purification.networks.reverse_steps import Step, ddim, ddpm, spaced
from iqa_robustness.defenses.purification.networks.tiling import tiled
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.metrics.weights import sha256_of
from iqa_robustness.streams import Streams, required

# The published model's size.
PUBLISHED_SIDE = 256
# Where neither `evaluations` nor `paper` says more.
EVALUATIONS = 5
# Around tiles, whose group normalisations differ anyway.
HALO = 32


@dataclass(frozen=True, kw_only=True)
class DiffPure(Purification):
    """Noise as after `steps` steps of a diffusion model, then its reverse diffusion back to the image.

    Each image draws its own noise, one draw at first and, for `ddpm`, one between two evaluations. Gradients pass
    through all steps; each is computed again in the backward pass, so that memory holds the activations of one step
    and a few images, however many there are.

    Source: Nie et al., ICML 2022 (NVlabs/DiffPure); benchmark section 4.1. x_0 is clipped to [−1, 1] in every step.
    Cost: `evaluations` forwards of the network; where gradients are wanted as many more, and as many backwards. One of
        the bundled model: 34 G multiply-adds for 384 × 512.
    Raises: ConfigurationError for values out of range, and without streams; `purify` and the key: WeightsError.

    weights: empty for the bundled model (trained by `iqa-robustness train diffusion`), or as `model_files` reads it:
        a folder of diffusers, `owner/name` in the hub's cache, 256x256_diffusion_uncond.pt of guided-diffusion. In
        the store's keys the digests of its files stand here.
    steps: how much noise: that of timestep `steps` − 1. The bundled model's are those of the published one: 5, 10,
        20, 30 and 50 steps are noise of 3.4, 5.6, 9.7, 13.8 and 22 of 255.
    sampler: `ddpm`, which draws on its way back, or `ddim`, which does not.
    evaluations: of the network on the way back, evenly spaced among the steps; None for five, or for all the steps if
        there are fewer or `paper` asks for them.
    tile: side in pixels of the tiles that the network is given, 0 for the whole image. Results differ: the network
        normalises over what it is given.
    paper: as published: every step, and the image scaled to 256 × 256 and back, bilinear without antialiasing. The
        published model is `weights="256x256_diffusion_uncond.pt"`. (Half precision, and one draw for a whole batch,
        are not reproduced.)
    """

    name: ClassVar[str] = "diffpure"
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    varied_parameter: ClassVar[str] = "steps"
    parameter_values: ClassVar[Sequence[Any]] = (5, 10, 20, 30, 50)

    weights: str = ""
    steps: int = 5
    sampler: Literal["ddpm", "ddim"] = "ddpm"
    evaluations: int | None = None
    tile: int = 0

    def __post_init__(self) -> None:
        where = Where(defense=self.name)
        for field in ("steps", "evaluations"):
            value = getattr(self, field)
            if value is not None and not value >= 1:
                raise ConfigurationError(f"{field} must be at least 1, got {value}", where=where)
        if self.sampler not in ("ddpm", "ddim"):
            raise ConfigurationError(f"there is no sampler {self.sampler!r}", where=where, fix="give ddpm or ddim")
        if self.tile != 0 and not self.tile >= SMALLEST_TILE:
            raise ConfigurationError(
                f"a tile of {self.tile} pixels is refused",
                where=where,
                fix=f"give 0 (no tiles), or {SMALLEST_TILE} and more",
            )

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: what the field `weights` stands for, `[[name, sha256], …]`. Raises WeightsError."""
        return {"weights": [[*each] for each in _digests(self._stamps())]}

    def model(self, device: torch.device) -> NoiseModel:
        """The model on a device, frozen and in eval mode. Raises WeightsError; CapabilityError without diffusers."""
        return _model(self.weights, self._stamps(), str(device))

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        streams = required(streams, self.name)
        if not len(images):
            return images
        model = self.model(images.device)
        height, width = images.shape[2:]
        if self.paper:
            side = (PUBLISHED_SIDE, PUBLISHED_SIDE)
            small = F.interpolate(images, side, mode="bilinear", align_corners=False)
            purified = F.interpolate(self._there_and_back(model, small, streams), (height, width), mode="bilinear")
        else:
            purified = self._there_and_back(model, images, streams)
        return purified.clamp(0, 1)

    def _there_and_back(self, model: NoiseModel, images: Tensor, streams: Streams) -> Tensor:
        kept = model.schedule.retained
        if self.steps > len(kept):
            raise ConfigurationError(
                f"{self.steps} steps are more than the model's {len(kept)}", where=Where(defense=self.name)
            )
        first = kept[self.steps - 1]
        noise = streams.normal(*images.shape[1:])
        return self.back(model, first**0.5 * (2 * images - 1) + (1 - first) ** 0.5 * noise, streams)

    def back(self, model: NoiseModel, noisy: Tensor, streams: Streams) -> Tensor:
        """The way back alone: x_t of timestep t = `steps` − 1, (N, 3, H, W) in units of the model, to images in [0, 1].

        Its draws are from `streams`, `evaluations` − 1 for `ddpm`.
        """
        kept, shape, current = model.schedule.retained, noisy.shape[1:], noisy
        path = spaced(self.steps, self.evaluations or (self.steps if self.paper else EVALUATIONS))
        after = [kept[timestep] for timestep in path[1:]] + [1.0]
        for timestep, next_kept in zip(path, after, strict=True):
            step = Step(timestep=timestep, kept=kept[timestep], kept_after=next_kept)
            noise = streams.normal(*shape) if self.sampler == "ddpm" and not step.last else None
            function: Callable[..., Tensor] = self._stepped
            if torch.is_grad_enabled() and current.requires_grad:
                function = partial(checkpoint, self._stepped, use_reentrant=False, preserve_rng_state=False)
            current = function(model, current, step, noise)
        image: Tensor = (current + 1) / 2
        return image

    def _stepped(self, model: NoiseModel, noisy: Tensor, step: Step, noise: Tensor | None) -> Tensor:
        predicted = tiled(
            lambda part: model.at(part, step.timestep), noisy, tile=self.tile, halo=HALO, multiple=model.stride
        )
        if self.sampler == "ddim":
            return ddim(noisy, predicted, step)
        return ddpm(noisy, predicted, step, noise, variance=model.variance)

    def _stamps(self) -> tuple[Stamp, ...]:
        found = model_files(self.weights).paths
        return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)


def denoise(images: Tensor, sigma: float, *, weights: str = "") -> Tensor:
    """Images without Gaussian noise of deviation `sigma` (units of 1), at one stroke: a denoiser for smoothing.

    (N, 3, H, W) around [0, 1], as the noise leaves them, to (N, 3, H, W) in [0, 1]. One forward; differentiable.
    Source: Carlini et al., ICLR 2023, Alg. 1.

    Args:
        images: noisy; not clamped before, which would change the noise.
        sigma: of the noise, in units of 1; the bundled model knows 0.0025 to 78 and is good at 3/255 to 100/255.
        weights: as for `DiffPure`.

    Raises:
        ConfigurationError: noise that the model does not know. WeightsError, CapabilityError: as for `DiffPure`.
    """
    if not len(images):
        return images
    return DiffPure(weights=weights).model(images.device).denoise(images, sigma).clamp(0, 1)


@lru_cache(maxsize=KEPT_NETWORKS)
def _model(weights: str, stamps: tuple[Stamp, ...], device: str) -> NoiseModel:
    del stamps
    # Tensors made in inference mode could never enter a graph, and the first to ask may be there.
    with torch.inference_mode(False):
        return read_model(model_files(weights)).eval().requires_grad_(False).to(device)


@lru_cache(maxsize=4 * KEPT_NETWORKS)
def _digests(stamps: tuple[Stamp, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((Path(path).name, sha256_of(Path(path))) for path, _, _ in stamps)
