"""What purified images must keep to: the range, and the size that a window needs."""

from __future__ import annotations

from torch import Tensor

from iqa_robustness.errors import ConfigurationError, Where


def within_range(averages: Tensor) -> Tensor:
    """Weighted means of pixels, clamped to [0, 1] against rounding noise; the gradient passes as if they were not.

    `clamp` alone would stop the gradient at every white pixel whose mean came out one rounding step above 1.
    """
    return averages + (averages.clamp(0, 1) - averages).detach()


def refuse_smaller(images: Tensor, least: int, *, defense: str, what: str, fix: str) -> None:
    """Raise ConfigurationError when a side of (N, 3, H, W) images is shorter than `least` pixels.

    Args:
        images: of which only the shape is read.
        least: pixels.
        defense: its name.
        what: the part of the sentence before the sizes.
        fix: what to do about it.
    """
    height, width = images.shape[-2:]
    if min(height, width) < least:
        raise ConfigurationError(
            f"{what} takes images from {least} × {least} pixels, got {height} × {width}",
            where=Where(defense=defense),
            fix=fix,
        )


def check_kernel(size: int, *, defense: str) -> None:
    """Raise ConfigurationError unless a kernel size in pixels is odd and at least 1, which changes nothing."""
    if size < 1 or size % 2 == 0:
        raise ConfigurationError(
            f"the kernel size must be odd and at least 1, got {size}", where=Where(defense=defense)
        )
