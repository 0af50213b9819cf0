"""The attack inside adversarial training: a few steps in an l∞ ball, on whole batches, without rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from iqa_robustness.attacks.apgd import checkpoints
from iqa_robustness.errors import ConfigurationError

Objective = Callable[[Tensor], Tensor]
"""(N, 3, H, W) images to (N,) values that the adversary wants large."""

# Share of the projected step in an iterate, the rest is momentum; share of steps that have to rise.
_MOMENTUM, _RISING = 0.75, 0.75


@dataclass(frozen=True, kw_only=True)
class InnerAttack:
    """Gradient signs, projected onto a ball of radius `epsilon` and onto [0, 1].

    `apgd` starts at the image, its first step is alpha · epsilon long and every later one has momentum; at
    checkpoints the step of an image is halved, and its search goes on from its best iterate, where too few steps rose
    or nothing has changed. Each image keeps its best iterate, which may be the clean one. Other kinds return the last.

    Source: `apgd`: Croce and Hein, ICML 2020, Alg. 1, as the benchmark trains with it (two steps, alpha 1, where the
    original has 2, and no random start). `fgsm`: Goodfellow et al., ICLR 2015; `free`: Wong et al., ICLR 2020, with a
    uniform start; both with alpha 1.25. `pgd`: Madry et al., ICLR 2018.
    Cost: `apgd`: steps + 1 forwards and `steps` backwards an image; the others `steps` of each.

    epsilon: radius, in units of 1.
    steps: at least 1.
    alpha: the (first) step over epsilon.
    start: `clean`, or `uniform` in the ball.
    momentum: keep the best, adapt the step (`apgd`).
    """

    epsilon: float
    steps: int = 2
    alpha: float = 1.0
    start: str = "clean"
    momentum: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.epsilon <= 1 and self.steps >= 1 and self.alpha > 0):
            raise ConfigurationError(
                "an inner attack needs 0 < epsilon <= 1, steps >= 1 and alpha > 0, "
                f"got {self.epsilon}, {self.steps} and {self.alpha}"
            )

    def __call__(self, objective: Objective, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the same, detached; `generator` (CPU) draws the start where it is random."""
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        current = images.detach()
        if self.start == "uniform":
            noise = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
            current = (current + self.epsilon * noise).clamp(low, high)
        climb = self._adapted if self.momentum else self._plain
        return climb(objective, current, low, high)

    def _plain(self, objective: Objective, current: Tensor, low: Tensor, high: Tensor) -> Tensor:
        for _ in range(self.steps):
            _, gradients = _values_and_gradients(objective, current)
            current = (current + self.alpha * self.epsilon * gradients.sign()).clamp(low, high)
        return current

    def _adapted(self, objective: Objective, current: Tensor, low: Tensor, high: Tensor) -> Tensor:
        values, gradients = _values_and_gradients(objective, current)
        best, best_values, best_gradients = current, values, gradients
        previous = current
        size = torch.full_like(values, self.alpha * self.epsilon)
        rises, values_then, size_then, last = torch.zeros_like(values), values, size, 0
        checks = checkpoints(self.steps)
        for step in range(1, self.steps + 1):
            moved = (current + _each(size) * gradients.sign()).clamp(low, high)
            if step > 1:
                moved = current + _MOMENTUM * (moved - current) + (1 - _MOMENTUM) * (current - previous)
                moved = moved.clamp(low, high)
            previous, current = current, moved
            before = values
            if step == self.steps:
                with torch.no_grad():
                    values = objective(current)
            else:
                values, gradients = _values_and_gradients(objective, current)
            better = values > best_values
            best = torch.where(_each(better), current, best)
            best_values = torch.where(better, values, best_values)
            best_gradients = torch.where(_each(better), gradients, best_gradients)
            rises = rises + (values > before)
            if step in checks:
                halve = (rises <= _RISING * (step - last)) | ((size == size_then) & (best_values == values_then))
                values_then, size_then, last = best_values, size, step
                size = torch.where(halve, size / 2, size)
                current = torch.where(_each(halve), best, current)
                gradients = torch.where(_each(halve), best_gradients, gradients)
                values, rises = torch.where(halve, best_values, values), torch.zeros_like(rises)
        return best


KINDS: Mapping[str, Callable[[float], InnerAttack]] = MappingProxyType(
    {
        "apgd": lambda epsilon: InnerAttack(epsilon=epsilon),
        "fgsm": lambda epsilon: InnerAttack(epsilon=epsilon, steps=1, alpha=1.25, momentum=False),
        "free": lambda epsilon: InnerAttack(epsilon=epsilon, steps=1, alpha=1.25, start="uniform", momentum=False),
        "pgd": lambda epsilon: InnerAttack(epsilon=epsilon, steps=10, alpha=0.25, start="uniform", momentum=False),
    }
)
"""The attacks that a metric can be trained against, by name; each takes epsilon."""


def _values_and_gradients(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = images.detach().requires_grad_(True)
        values = objective(leaf)
        (gradients,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradients


def _each(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]
