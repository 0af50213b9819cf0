"""JPEG: compression discards what is hard to see, and part of the perturbation with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.jpeg import check_quality, coded, round_trip
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class JPEG(Purification):
    """Baseline JPEG at a quality, 4:2:0, as Pillow writes and reads it.

    Not differentiable; adaptive attacks use the slope of the same codec in floating point (`diffjpeg`).

    Source: benchmark section 4.1. Its code truncates to 8 bits before encoding, a bias of half a level for images
    that are not 8-bit already; here they are rounded (`paper=True` truncates).
    Raises: ConfigurationError for a quality outside 1 … 100.
    """

    name: ClassVar[str] = "jpeg"
    version: ClassVar[int] = 2
    differentiable: ClassVar[bool] = False
    surrogate_name: ClassVar[str] = "diffjpeg"
    varied_parameter: ClassVar[str] = "quality"
    parameter_values: ClassVar[Sequence[Any]] = (10, 30, 50, 70, 90)

    quality: int = 50

    def __post_init__(self) -> None:
        check_quality(self.quality)

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W) on the grid k/255, on the device of the input."""
        del streams
        # The slack keeps k/255 at level k: float32 products may fall an ulp short of it.
        pixels = to_uint8((images.detach() * 255 + 1e-3).floor() / 255 if self.paper else images)
        return from_uint8(round_trip(pixels, self.quality)).to(images.device)

    def surrogate(self, images: Tensor) -> Tensor:
        """The codec in floating point, with a slope where it rounds."""
        return coded(images, self.quality)
