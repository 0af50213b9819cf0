"""Perturbation budgets: objects that know a restriction and how to keep an image inside it, also after rounding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import quantize
from iqa_robustness.similarity import linf

# float32 noise of k/255 differences; a real violation is at least one level, 1/255.
_LEVEL_SLACK = 1e-3


class Budget(ABC):
    """A set of allowed images around a clean one. Clean images lie on the grid k/255."""

    restriction: ClassVar[str]

    @abstractmethod
    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The nearest allowed floating-point images, in [0, 1]. (N, 3, H, W) twice to (N, 3, H, W)."""

    @abstractmethod
    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        """Allowed images on the grid k/255, for any input of the shape: what is scored and returned."""

    @abstractmethod
    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """The used budget of each image, (N,), in the restriction's unit."""

    @property
    @abstractmethod
    def limit(self) -> float:
        """The largest allowed `size`."""

    def violations(self, images: Tensor, clean: Tensor) -> Tensor:
        """(N,) bool: which images are outside the budget by more than float noise; one that holds NaN is outside."""
        return ~(self.size(images, clean) <= self.limit + _LEVEL_SLACK / 255)


@dataclass(frozen=True, kw_only=True)
class Linf(Budget):
    """Every value may change by at most `epsilon`, in units of 1 (2/255 is weak)."""

    restriction: ClassVar[str] = "linf"
    epsilon: float

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ConfigurationError(f"epsilon must lie in [0, 1], got {self.epsilon}", fix="write 4/255, not 4")

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Clamp to the cube of half-width `epsilon` around the clean image."""
        return torch.clamp(images, (clean - self.epsilon).clamp_(min=0), (clean + self.epsilon).clamp_(max=1))

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        """Round to 8 bits, then clamp by whole levels: rounding alone may leave the cube by half a level."""
        # Half of what `violations` forgives: a level that is admitted here must not be refused there.
        levels = int(self.epsilon * 255 + _LEVEL_SLACK / 2) / 255
        return quantize(torch.clamp(quantize(images), clean - levels, clean + levels))

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """Largest absolute difference, in units of 1."""
        return linf(images, clean)

    @property
    def limit(self) -> float:
        """`epsilon`."""
        return self.epsilon
