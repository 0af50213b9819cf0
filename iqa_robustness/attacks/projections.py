"""Perturbation budgets: objects that know a restriction and how to keep an image inside it, also after rounding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import quantize
from iqa_robustness.similarity import l0, l2, linf, ssim

# float32 noise of k/255 differences; a real violation is at least one level, 1/255.
_LEVEL_SLACK = 1e-3
# Halvings of the segment between the clean image and the wished one: a 1024th of any change is below one 8-bit level.
_HALVINGS = 10


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
        return torch.clamp(images, *self.bounds(clean))

    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest allowed values; an attack of many steps makes them once."""
        return (clean - self.epsilon).clamp_(min=0), (clean + self.epsilon).clamp_(max=1)

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        """Round to 8 bits, then clamp by whole levels: rounding alone may leave the cube by half a level."""
        # Half of what `violations` forgives: a level that is admitted here must not be refused there.
        levels = int(self.epsilon * 255 + _LEVEL_SLACK / 2)
        grid = clean.mul(255).round_()
        change = images.mul(255).round_().sub_(grid).clamp_(-levels, levels)
        return change.add_(grid).clamp_(0, 255).div_(255)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """Largest absolute difference, in units of 1."""
        return linf(images, clean)

    @property
    def limit(self) -> float:
        """`epsilon`."""
        return self.epsilon


class Shrinking(Budget):
    """A budget around the clean image that is kept by shrinking the whole perturbation."""

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The allowed point of the segment to the clean image that is farthest from it, found by bisection."""
        return self._shrunk(images.clamp(0, 1), clean, torch.clone)

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        """The same among rounded points: each candidate is measured as the 8-bit image that it would be."""
        return self._shrunk(images.clamp(0, 1), clean, quantize)

    def _shrunk(self, images: Tensor, clean: Tensor, held: Callable[[Tensor], Tensor]) -> Tensor:
        wished = held(images)
        rows = self.violations(wished, clean).nonzero().flatten()
        if len(rows):
            wished[rows] = self._bisected(images[rows], clean[rows], held)
        return wished

    def _bisected(self, images: Tensor, clean: Tensor, held: Callable[[Tensor], Tensor]) -> Tensor:
        change, allowed = images - clean, clean.clone()
        low = images.new_zeros(len(images))
        width = torch.full_like(low, 0.5)
        for _ in range(_HALVINGS):
            candidate = held(clean + _each(low + width) * change)
            inside = ~self.violations(candidate, clean)
            allowed = torch.where(_each(inside), candidate, allowed)
            low = torch.where(inside, low + width, low)
            width = width / 2
        return allowed


@dataclass(frozen=True, kw_only=True)
class L2(Shrinking):
    """The Euclidean norm of the change is at most `epsilon`, over all values of an image, in units of 1."""

    restriction: ClassVar[str] = "l2"
    epsilon: float

    def __post_init__(self) -> None:
        if not (self.epsilon >= 0 and math.isfinite(self.epsilon)):
            raise ConfigurationError(f"epsilon must be finite and not negative, got {self.epsilon}")

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Scale the change to the ball, then clamp to [0, 1], which only shortens it."""
        change = images - clean
        length = change.flatten(1).norm(dim=1).clamp_(min=torch.finfo(images.dtype).tiny)
        return change.mul_(_each((self.epsilon / length).clamp_(max=1))).add_(clean).clamp_(0, 1)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """Euclidean norm of the change, in units of 1."""
        return l2(images, clean)

    @property
    def limit(self) -> float:
        """`epsilon`."""
        return self.epsilon


@dataclass(frozen=True, kw_only=True)
class Psnr(Shrinking):
    """The PSNR to the clean image is at least `least` dB. `size` and `limit` are root mean square changes."""

    restriction: ClassVar[str] = "psnr"
    least: float

    def __post_init__(self) -> None:
        if not (self.least > 0 and math.isfinite(self.least)):
            raise ConfigurationError(f"the least PSNR must be positive and finite, in dB, got {self.least}")

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Scale the change to the ball, then clamp to [0, 1], which only shortens it."""
        return L2(epsilon=self.limit * math.sqrt(clean[0].numel()) if len(clean) else 0).project(images, clean)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """Root mean square change of a value, in units of 1."""
        return l2(images, clean) / math.sqrt(clean[0].numel()) if len(clean) else l2(images, clean)

    @property
    def limit(self) -> float:
        """The root mean square change that gives `least` dB."""
        return float(10 ** (-self.least / 20))


@dataclass(frozen=True, kw_only=True)
class Ssim(Shrinking):
    """The SSIM to the clean image is at least `least`. `size` and `limit` are 1 − SSIM. Images from 7 × 7 pixels."""

    restriction: ClassVar[str] = "ssim"
    least: float

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ConfigurationError(f"the least SSIM must lie in (0, 1], got {self.least}")

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """1 − SSIM, see `similarity.ssim`."""
        return 1 - ssim(images, clean)

    @property
    def limit(self) -> float:
        """1 − `least`."""
        return 1 - self.least


@dataclass(frozen=True, kw_only=True)
class Pixels(Budget):
    """At most `count` pixels may change, to any colour."""

    restriction: ClassVar[str] = "l0"
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigurationError(f"the number of pixels must not be negative, got {self.count}")

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Keep the `count` pixels with the largest changes (Euclidean over the channels), the first of equal ones."""
        images = images.clamp(0, 1)
        outside = (self.size(images, clean) > self.count).nonzero().flatten()
        if not len(outside):
            return images
        wished, around = images[outside], clean[outside]
        change = (wished - around).square().sum(dim=1).flatten(1)
        order = change.sort(dim=1, descending=True, stable=True).indices[:, : self.count]
        kept = torch.zeros_like(change, dtype=torch.bool).scatter_(1, order, True)
        images[outside] = torch.where(kept.view(len(outside), 1, *images.shape[2:]), wished, around)
        return images

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        """The same, rounded to 8 bits."""
        return self.project(quantize(images), clean)

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        """Number of pixels that differ in any channel."""
        return l0(images, clean)

    @property
    def limit(self) -> float:
        """`count`."""
        return float(self.count)


def _each(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]
