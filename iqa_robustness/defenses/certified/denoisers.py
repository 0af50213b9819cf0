"""Denoisers: what cleans each noisy sample before a smoothed metric scores it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.diffpure import DiffPure
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.weights import available
from iqa_robustness.streams import Streams

# The bundled diffusion model at one stroke, and what is taken in its stead where its weights are present.
DIFFUSION, PREFERRED = "diffusion", "dncnn"
# Denoisers that have to be told the level of the noise.
_TOLD = ("ffdnet",)


@dataclass(frozen=True, kw_only=True)
class Denoiser(ABC):
    """Takes Gaussian noise of a known deviation off images; what it does to them is post-processing to a certificate.

    version: raised when its results change.
    differentiable: gradients pass through it; otherwise those of `surrogate_name` stand in.
    keeps_geometry: pixels of input and output correspond.
    """

    version: ClassVar[int] = 1

    @property
    def differentiable(self) -> bool:
        """Gradients pass through it."""
        return True

    @property
    def surrogate_name(self) -> str:
        """For protocol names."""
        return ""

    @property
    def keeps_geometry(self) -> bool:
        """Pixels correspond."""
        return True

    @abstractmethod
    def denoised(self, noisy: Tensor, *, sigma: float, streams: Streams | None) -> Tensor:
        """(N, 3, H, W) as the noise leaves them, not clipped, to (N, 3, H, W) in [0, 1].

        sigma: of the noise, in units of 1.
        streams: of each image, for a denoiser that draws.
        """


@dataclass(frozen=True, kw_only=True)
class Purifying(Denoiser):
    """A purification, given the noisy image clipped to [0, 1]."""

    purification: Purification

    @property
    def differentiable(self) -> bool:
        """The purification is."""
        return self.purification.differentiable

    @property
    def surrogate_name(self) -> str:
        """The purification's."""
        return self.purification.surrogate_name

    @property
    def keeps_geometry(self) -> bool:
        """The purification does."""
        return self.purification.keeps_geometry

    def denoised(self, noisy: Tensor, *, sigma: float, streams: Streams | None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H', W'), checked; the slope of one without a gradient is its surrogate's."""
        del sigma
        return self.purification.applied(noisy.clamp(0, 1), streams=streams)


@dataclass(frozen=True, kw_only=True)
class OneShotDiffusion(Denoiser):
    """A diffusion model's estimate of the image from one forward, at the first noise level that is not below σ.

    Source: Carlini et al., ICLR 2023, Alg. 1; the timestep as in the benchmark's diffusion denoised smoothing.
    weights: as of `diffpure`; empty for the bundled model.
    """

    weights: str = ""

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: the digests of the model. Raises WeightsError."""
        return DiffPure(weights=self.weights).contents

    def denoised(self, noisy: Tensor, *, sigma: float, streams: Streams | None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W). Raises ConfigurationError for noise that the model does not know."""
        del streams
        if not len(noisy):
            return noisy
        model = DiffPure(weights=self.weights).model(noisy.device)
        return model.denoise(noisy, sigma, timestep=model.schedule.timestep_from(sigma)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class ReverseDiffusion(Denoiser):
    """A draw of reverse diffusion (DDPM) from the noise level of the image, in `evaluations` steps.

    Source: Xiao et al., ICLR 2023 (DensePure), section 4: x_t = √ᾱ_t · (x + noise), t the first level not below σ.
    weights: as of `diffpure`; empty for the bundled model.
    evaluations: of the network, evenly spaced; the benchmark's are 2, at timesteps 70 and 35 where t is 70.
    """

    weights: str = ""
    evaluations: int = 2

    @property
    def contents(self) -> Mapping[str, Any]:
        """For the store's keys: the digests of the model. Raises WeightsError."""
        return DiffPure(weights=self.weights).contents

    def denoised(self, noisy: Tensor, *, sigma: float, streams: Streams | None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W), another draw at each call. Raises ConfigurationError as `OneShotDiffusion`."""
        if streams is None:
            raise ConfigurationError("reverse diffusion draws random numbers and needs `streams`")
        if not len(noisy):
            return noisy
        model = DiffPure(weights=self.weights).model(noisy.device)
        timestep = model.schedule.timestep_from(sigma)
        kept = model.schedule.retained[timestep]
        way = DiffPure(weights=self.weights, steps=timestep + 1, evaluations=self.evaluations)
        return way.back(model, kept**0.5 * (2 * noisy - 1), streams).clamp(0, 1)


def denoiser(chosen: str | Purification, *, sigma: float) -> Denoiser:
    """The denoiser of a name, or of a purification as it is configured.

    Args:
        chosen: `diffusion` (the bundled model at one stroke), any purification's name (`ffdnet` is told sigma, the
            others have their defaults), or a purification; empty for `dncnn` where its published weights are present
            and `diffusion` elsewhere.
        sigma: of the noise, in units of 1.

    Raises:
        UnknownNameError: no such name.
        ConfigurationError: the name of no purification.
    """
    if isinstance(chosen, Purification):
        return Purifying(purification=chosen)
    name = chosen or (PREFERRED if available(PREFERRED) else DIFFUSION)
    if name == DIFFUSION:
        return OneShotDiffusion()
    check(name)
    return Purifying(purification=defenses.create(name, **({"sigma": sigma} if name in _TOLD else {})))  # type: ignore[arg-type] # checked


def names() -> Sequence[str]:
    """What `denoiser` takes: `diffusion` and the registered purifications."""
    return [DIFFUSION, *(entry.name for entry in defenses.registry if entry.kind == "purification")]


def check(member: str) -> None:
    """Raise UnknownNameError for no defense, ConfigurationError for one that is no purification."""
    if member == DIFFUSION:
        return
    entry = defenses.registry.resolve(member)
    if entry.kind != "purification":
        raise ConfigurationError(
            f"{member!r} is no denoiser (its kind is {entry.kind})",
            fix=f"name {DIFFUSION}, or a purification",
        )
