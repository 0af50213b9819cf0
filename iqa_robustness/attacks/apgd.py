"""APGD: steps that halve themselves when they stop paying."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import Objective
from iqa_robustness.attacks.projections import Psnr
from iqa_robustness.attacks.unfinished import values_and_gradients
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

# Share of the projected step in an iterate, the rest is momentum; share of steps that have to rise.
_MOMENTUM, _RISING = 0.75, 0.75
_FIRST_CHECK, _CHECKS_CLOSE_UP_BY, _CLOSEST_CHECKS = 0.22, 0.03, 0.06
_FIRST_STEP = 2.0


@dataclass(frozen=True, kw_only=True)
class AutoPGD(Attack):
    """What `apgd` and `apgd-l2` share; a subclass says what radius, start, direction and projection are in its norm."""

    steps: int = 50
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.steps < 2 or self.restarts < 1:
            raise ConfigurationError(
                f"{self.name} needs steps >= 2 and restarts >= 1, got {self.steps} and {self.restarts}"
            )
        _ = self.budget  # refuses an impossible bound

    @abstractmethod
    def radius(self, images: Tensor) -> float:
        """Half the first step, in the norm of `direction`."""

    @abstractmethod
    def start(self, images: Tensor, streams: Streams) -> Tensor:
        """Random images on the border of the ball, in [0, 1]."""

    @abstractmethod
    def direction(self, gradients: Tensor) -> Tensor:
        """The steepest direction of unit length, a new tensor; zero for a zero gradient."""

    @abstractmethod
    def projection(self, clean: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from images to the nearest allowed ones; it may change its argument in place."""

    def doubled(self) -> AutoPGD:
        """Twice the steps; the checkpoints move along."""
        return replace(self, steps=2 * self.steps)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Climb from every start; what the last run ends with."""
        end = images
        for restart in range(self.restarts):
            if restart:  # the template scores the last run's end itself
                objective.values(end)
            end = self._climb(objective, images, self.start(images, streams))
        return end

    def _climb(self, objective: Objective, clean: Tensor, current: Tensor) -> Tensor:
        project = self.projection(clean)
        values, gradients = values_and_gradients(objective, current)
        previous: Tensor | None = None
        best, best_values, best_gradients = current, values, gradients
        size = torch.full_like(values, _FIRST_STEP * self.radius(clean))
        rises = torch.zeros_like(values)
        values_then, size_then, last_check = best_values, size, 0
        checks = checkpoints(self.steps)
        for step in range(1, self.steps):
            previous, current = current, self._moved(current, previous, gradients, size, project)
            values_before = values
            values, gradients = values_and_gradients(objective, current)
            rises += values > values_before
            better = values > best_values
            best, best_gradients = _chosen(better, current, best), _chosen(better, gradients, best_gradients)
            best_values = torch.where(better, values, best_values)
            if step in checks:
                stuck = (size == size_then) & (best_values == values_then)
                halve = stuck | (rises <= _RISING * (step - last_check))
                values_then, size_then, last_check = best_values, size, step
                size = torch.where(halve, size / 2, size)
                current, gradients = _chosen(halve, best, current), _chosen(halve, best_gradients, gradients)
                values, rises = torch.where(halve, best_values, values), torch.zeros_like(rises)
        return best if self.paper else self._moved(current, previous, gradients, size, project)

    def _moved(
        self,
        current: Tensor,
        previous: Tensor | None,
        gradients: Tensor,
        size: Tensor,
        project: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The next iterates; the first ones have no momentum."""
        moved = project(self.direction(gradients).mul_(_each(size)).add_(current))
        if previous is None:
            return moved
        # current + 0.75 (moved − current) + 0.25 (current − previous)
        moved.mul_(_MOMENTUM).add_(current, alpha=2 - 2 * _MOMENTUM).sub_(previous, alpha=1 - _MOMENTUM)
        return project(moved)


@dataclass(frozen=True, kw_only=True)
class APGD(AutoPGD, LinfAttack):
    """Steps along the sign of the gradient in an l∞ ball, with momentum, and halved where they stop paying.

    The first step crosses the ball. At checkpoints, ever closer ones, an image's step is halved and its search goes on
    from its best iterate, if fewer than 75 % of the steps since the last checkpoint rose, or if neither step nor best
    value has changed since.

    Source: Croce and Hein, ICML 2020, Alg. 1, from a random point on the border as in their code. The score takes the
    place of the classifier's loss, and needs no rescaling: only comparisons of it are used. The last gradient is used
    for one more step, which is scored only rounded.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: `steps` forwards and backwards an image and restart, and one forward for each restart's result. Images that
    reach a target score stop, for one forward more.
    `paper=True` returns the result of the last restart.
    Raises: ConfigurationError for fewer than two steps or less than one restart.
    """

    name: ClassVar[str] = "apgd"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"

    def radius(self, images: Tensor) -> float:
        """`epsilon`."""
        del images
        return self.epsilon

    def start(self, images: Tensor, streams: Streams) -> Tensor:
        """Uniform noise, scaled to touch the border."""
        noise = streams.uniform(*images.shape[1:]).mul_(2).sub_(1)
        largest = noise.flatten(1).abs().amax(dim=1)
        return noise.mul_(_each(self.epsilon / largest)).add_(images).clamp_(0, 1)

    def direction(self, gradients: Tensor) -> Tensor:
        """The gradient's signs."""
        return gradients.sign()

    def projection(self, clean: Tensor) -> Callable[[Tensor], Tensor]:
        """Clamping to the cube."""
        low, high = self.budget.bounds(clean)
        return lambda images: images.clamp_(low, high)


@dataclass(frozen=True, kw_only=True)
class APGDL2(AutoPGD):
    """`apgd` in a Euclidean ball: steps along the normalised gradient.

    Source: Croce and Hein, ICML 2020, Alg. 1 with l2 steps and projections.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: the PSNR to the clean image, in dB, is at least `least_psnr`: an l2 ball whose radius grows with the root of
    the number of pixels, so that a strength is as visible in a small image as in a large one. 40, 35 and 30 dB are
    the visibility that the benchmark aligns its attacks to that have no l∞ bound.
    Cost: `steps` forwards and backwards an image and restart, and one forward for each restart's result.
    `paper=True` returns the result of the last restart.
    Raises: ConfigurationError for fewer than two steps or less than one restart, or a PSNR that is not positive.
    """

    name: ClassVar[str] = "apgd-l2"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "psnr"
    varied_parameter: ClassVar[str] = "least_psnr"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "weak": {"least_psnr": 40.0},
        "medium": {"least_psnr": 35.0},
        "strong": {"least_psnr": 30.0},
    }

    least_psnr: float = 35.0

    @property
    def budget(self) -> Psnr:
        """The l2 ball."""
        return Psnr(least=self.least_psnr)

    def radius(self, images: Tensor) -> float:
        """The Euclidean norm of the largest allowed change."""
        return self.budget.limit * math.sqrt(math.prod(images.shape[1:]))

    def start(self, images: Tensor, streams: Streams) -> Tensor:
        """Gaussian noise, scaled to touch the border."""
        noise = streams.normal(*images.shape[1:])
        return self.direction(noise).mul_(self.radius(images)).add_(images).clamp_(0, 1)

    def direction(self, gradients: Tensor) -> Tensor:
        """The gradient over its Euclidean norm."""
        length = gradients.flatten(1).norm(dim=1).clamp_(min=torch.finfo(gradients.dtype).tiny)
        return gradients / _each(length)

    def projection(self, clean: Tensor) -> Callable[[Tensor], Tensor]:
        """Scaling the change to the ball."""
        return lambda images: self.budget.project(images, clean)


def checkpoints(steps: int) -> list[int]:
    """Numbers of the steps after which the step size is looked at, with the whole numbers of the authors' code."""
    first, less, least = (max(int(share * steps), 1) for share in (_FIRST_CHECK, _CHECKS_CLOSE_UP_BY, _CLOSEST_CHECKS))
    found, gap = [first], first
    while found[-1] < steps:
        gap = max(gap - less, least)
        found.append(found[-1] + gap)
    return found[:-1]


def _chosen(places: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` images where (N,) `places`, `old` ones elsewhere; neither is copied while all images agree."""
    wanted = places.tolist()
    if all(wanted) or not any(wanted):
        return new if all(wanted) else old
    return torch.stack([new[row] if take else old[row] for row, take in enumerate(wanted)])


def _each(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]
