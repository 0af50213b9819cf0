"""Gaussian blur: a low-pass filter takes fine perturbations away, and fine detail with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import check_kernel, refuse_smaller, within_range
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Purification):
    """Mean over a square window with Gaussian weights, borders mirrored without repeating the edge.

    Differentiable; adaptive attacks pass through it.

    Source: Guardians of Image Quality, section 3.2; kernel sizes and σ = 0.3 · ((k − 1)/2 − 1) + 0.8 as in its code.
    kernel_size: side of the window in pixels, odd.
    Raises: ConfigurationError for another kernel size, or an image that the mirrored window does not fit on.
    """

    name: ClassVar[str] = "gaussian-blur"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "kernel_size"
    parameter_values: ClassVar[Sequence[Any]] = (3, 5, 7, 9, 11)

    kernel_size: int = 3

    def __post_init__(self) -> None:
        check_kernel(self.kernel_size, defense=self.name)

    @property
    def sigma(self) -> float:
        """Standard deviation in pixels."""
        return 0.3 * ((self.kernel_size - 1) / 2 - 1) + 0.8

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        del streams
        return blurred(images, self.kernel_size, self.sigma, defense=self.name)


def blurred(images: Tensor, kernel_size: int, sigma: float, *, defense: str) -> Tensor:
    """(N, 3, H, W) to the same shape: Gaussian means, σ in pixels.

    Raises:
        ConfigurationError: the mirrored window does not fit on the image.
    """
    from kornia.filters import gaussian_blur2d

    refuse_smaller(
        images,
        kernel_size // 2 + 1,
        defense=defense,
        what=f"a kernel of {kernel_size} pixels",
        fix="use a smaller kernel_size or larger images",
    )
    return within_range(gaussian_blur2d(images, (kernel_size, kernel_size), (sigma, sigma), border_type="reflect"))
