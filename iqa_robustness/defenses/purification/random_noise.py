"""Random noise: drowns a perturbation in one that nobody could foresee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams, required


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Purification):
    """Gaussian noise, clipped to [0, 1] with the image; one draw an image.

    Differentiable and random: adaptive attacks average over draws (EOT).

    Source: Guardians of Image Quality, section 3.2. Its code gives the clean and the attacked image of a pair the same
    noise, which makes scores closer than they are; here every image that is scored draws its own.
    sigma: standard deviation, in units of 1.
    Raises: ConfigurationError for a sigma that is not positive, or without streams.
    """

    name: ClassVar[str] = "random-noise"
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    varied_parameter: ClassVar[str] = "sigma"
    parameter_values: ClassVar[Sequence[Any]] = (0.01, 0.025, 0.05, 0.075, 0.1)

    sigma: float = 0.01

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ConfigurationError(f"random-noise needs sigma > 0, got {self.sigma}")

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        noise = required(streams, self.name).normal(*images.shape[1:])
        return (images + self.sigma * noise).clamp(0, 1)
