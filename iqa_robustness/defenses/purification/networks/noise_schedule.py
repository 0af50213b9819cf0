"""The noise levels of a diffusion model: how much of the image is left after t steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from iqa_robustness.errors import ConfigurationError

# Images are [0, 1] here and [-1, 1] in the model: a deviation here is half of one there.
_SCALE = 2


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε, with ᾱ_t the product of 1 − β up to timestep t, counted from 0.

    Source: Ho et al., NeurIPS 2020, eq. 4; guided-diffusion's `linear` schedule is `linear_betas(1000)`.
    betas: one for each timestep, in (0, 1).
    Raises: ConfigurationError for betas outside.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.betas or not all(0 < beta < 1 for beta in self.betas):
            raise ConfigurationError("a noise schedule needs betas between 0 and 1", fix="check the scheduler's config")

    def __len__(self) -> int:
        """The number of timesteps."""
        return len(self.betas)

    @cached_property
    def retained(self) -> Sequence[float]:
        """ᾱ_t, falling from nearly 1."""
        return tuple(np.cumprod(1 - np.asarray(self.betas, dtype=np.float64)).tolist())

    @cached_property
    def sigmas(self) -> np.ndarray:
        """The noise's deviation beside the image x_0 in [0, 1], in units of 1: √(1/ᾱ_t − 1) / 2, rising."""
        return np.sqrt(1 / np.asarray(self.retained) - 1) / _SCALE

    def timestep(self, sigma: float) -> int:
        """The timestep whose noise is nearest to `sigma` (units of 1, images in [0, 1]) in proportion.

        Raises: ConfigurationError for a sigma that no step comes near: below half the first or above the last.
        """
        self._refuse_unknown(sigma)
        return int(np.abs(np.log(self.sigmas / sigma)).argmin())

    def timestep_from(self, sigma: float) -> int:
        """The first timestep whose noise is not below `sigma` (units of 1, images in [0, 1]).

        Raises: ConfigurationError as `timestep`.
        """
        self._refuse_unknown(sigma)
        return int(np.argmax(self.sigmas >= sigma))

    def _refuse_unknown(self, sigma: float) -> None:
        least, most = self.sigmas[0] / 2, self.sigmas[-1]
        if not least <= sigma <= most:
            raise ConfigurationError(
                f"the model knows noise of {least:.2g} to {most:.2g}, got sigma {sigma:g}",
                fix="give it in units of 1: 25/255",
            )


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> tuple[float, ...]:
    """Betas rising linearly, the first and the last included."""
    return tuple(np.linspace(first, last, steps, dtype=np.float64).tolist())
