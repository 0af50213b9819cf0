"""Colour quantization: few levels a channel leave no room for small perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class ColorQuantization(Purification):
    """Round each channel to `levels` equal steps from 0 to 1; the middle of two goes to the even one.

    Not differentiable; adaptive attacks pass the gradient straight through it. Rounding acts on each value alone, so
    any other positive slope would have the same sign, and sign attacks would do the same.

    Source: Guardians of Image Quality, section 3.2 (`npp`); Xu et al., NDSS 2018 (colour bit depth).
    levels: values a channel can take, at least 2.
    Raises: ConfigurationError for fewer.
    """

    name: ClassVar[str] = "color-quantization"
    version: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    varied_parameter: ClassVar[str] = "levels"
    parameter_values: ClassVar[Sequence[Any]] = (2, 5, 16, 20, 25)

    levels: int = 16

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ConfigurationError(f"color-quantization needs at least 2 levels, got {self.levels}")

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W) on the grid k/(levels − 1)."""
        del streams
        steps = self.levels - 1
        return (images * steps).round() / steps
