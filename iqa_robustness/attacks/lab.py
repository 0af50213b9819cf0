"""CIELAB and back, by kornia, which is imported only when colours are attacked: it takes seconds."""

from __future__ import annotations

from torch import Tensor


def to_lab(images: Tensor) -> Tensor:
    """(N, 3, H, W) sRGB in [0, 1] to L* (0 to 100), a* and b* (about −110 to 110), white point D65."""
    from kornia.color import rgb_to_lab

    result: Tensor = rgb_to_lab(images)
    return result


def from_lab(lab: Tensor) -> Tensor:
    """(N, 3, H, W) L*, a*, b* to sRGB, cut to [0, 1]; differentiable, without a slope where it is cut."""
    from kornia.color import lab_to_rgb

    result: Tensor = lab_to_rgb(lab)
    return result
