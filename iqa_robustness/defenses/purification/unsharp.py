"""Unsharp masking: what a blur would take away is added once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.gaussian_blur import blurred
from iqa_robustness.defenses.purification.limits import check_kernel
from iqa_robustness.streams import Streams

_SIGMA, _AMOUNT = 1.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Unsharp(Purification):
    """x + (x − blur(x)), clipped to [0, 1]; the blur is Gaussian with σ = 1 pixel, borders mirrored.

    Differentiable; adaptive attacks pass through it. It amplifies perturbations as it does detail, and is meant to
    follow a purification that blurs (`gaussian-blur+unsharp`).

    Source: Guardians of Image Quality, section 3.2; parameters as in its code.
    kernel_size: side of the blur's window in pixels, odd.
    Raises: ConfigurationError for another kernel size, or an image that the mirrored window does not fit on.
    """

    name: ClassVar[str] = "unsharp"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "kernel_size"
    parameter_values: ClassVar[Sequence[Any]] = (3, 5, 7, 9, 11)

    kernel_size: int = 3

    def __post_init__(self) -> None:
        check_kernel(self.kernel_size, defense=self.name)

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        del streams
        detail = images - blurred(images, self.kernel_size, _SIGMA, defense=self.name)
        return (images + _AMOUNT * detail).clamp(0, 1)
