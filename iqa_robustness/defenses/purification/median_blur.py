"""Median blur: the middle of the neighbours, which single outlying pixels do not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.limits import check_kernel, refuse_smaller
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class MedianBlur(Purification):
    """The median of a square window in each channel, borders mirrored without repeating the edge.

    Differentiable almost everywhere: the gradient goes to the pixel that is the median (to one of them where several
    are equal). Adaptive attacks pass through it.
    Memory: 4 · kernel_size² bytes a value of one image, twice that with a gradient.

    Source: Guardians of Image Quality, section 3.2; window and borders as in its code.
    kernel_size: side of the window in pixels, odd.
    Raises: ConfigurationError for another kernel size, or an image that the mirrored window does not fit on.
    """

    name: ClassVar[str] = "median-blur"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "kernel_size"
    parameter_values: ClassVar[Sequence[Any]] = (3, 5, 7, 9, 11)

    kernel_size: int = 3

    def __post_init__(self) -> None:
        check_kernel(self.kernel_size, defense=self.name)

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W)."""
        del streams
        size = self.kernel_size
        refuse_smaller(
            images,
            size // 2 + 1,
            defense=self.name,
            what=f"a kernel of {size} pixels",
            fix="use a smaller kernel_size or larger images",
        )
        padded = F.pad(images, (size // 2,) * 4, mode="reflect")
        # One image at a time: the windows of an image take as much memory as size² images.
        medians = [
            image.unfold(1, size, 1).unfold(2, size, 1).flatten(3).median(dim=3).values for image in padded.unbind()
        ]
        return torch.stack(medians) if medians else images
