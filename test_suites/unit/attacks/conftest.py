"""Toy metrics with known answers, and toy attacks; handed out as fixtures, for nothing here can be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import RAISE, Goal, Objective
from iqa_robustness.attacks.projections import Budget, Linf
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams


class Recording(Metric):
    """Writes down every forward pass: how many rows, which of them are padding (all zero), and in which mode."""

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.spec = MetricSpec(**{"name": "toy", "score_range": (0.0, 1.0), **spec})
        self.batches: list[Tensor] = []
        self.modes: list[str] = []

    def _record(self, images: Tensor) -> None:
        self.batches.append(images.detach().clone())
        self.modes.append("gradient" if images.requires_grad and torch.is_grad_enabled() else "query")

    @property
    def rows(self) -> int:
        """Images scored so far; padding does not count."""
        return sum(int(batch.flatten(1).any(dim=1).sum()) for batch in self.batches)


class Linear(Recording):
    """f(x) = offset + Σ w · x. Its optima do not leave [0, 1] unless the images come close."""

    def __init__(self, weights: Tensor, *, offset: float = 0.0, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("weights", weights)
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        self._record(images)
        return self.offset + (images * self.weights).flatten(1).sum(dim=1)

    def largest_gain_linf(self, clean: Tensor, epsilon: float) -> Tensor:
        """ε Σ |w|."""
        return (epsilon * self.weights.double().abs().sum()).expand(len(clean))

    def largest_gain_l2(self, clean: Tensor, radius: float) -> Tensor:
        """The radius times ‖w‖."""
        return (radius * self.weights.double().norm()).expand(len(clean))


class Quadratic(Recording):
    """f(x) = −Σ w · (x − c)², w > 0: a hill with its top at c."""

    def __init__(self, weights: Tensor, centre: Tensor, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("weights", weights)
        self.register_buffer("centre", centre)

    def forward(self, images: Tensor) -> Tensor:
        self._record(images)
        return -(self.weights * (images - self.centre).square()).flatten(1).sum(dim=1)

    def largest_gain_linf(self, clean: Tensor, epsilon: float) -> Tensor:
        """The nearest point of the box to c, each pixel on its own."""
        w, away = self.weights.double(), self.centre.double() - clean.double()
        left = away - away.clamp(-epsilon, epsilon)
        return (w * (away.square() - left.square())).flatten(1).sum(dim=1)

    def largest_gain_l2(self, clean: Tensor, radius: float) -> Tensor:
        """The change w (c − x) ÷ (w + λ), with the λ at which it has length r; c itself where that is nearer."""
        w, gains = self.weights.double().numpy(), []
        for away in (self.centre.double() - clean.double()).numpy():
            multiplier = multiplier_for(radius, lambda m, away=away: w * away / (w + m), least=0.0)
            gains.append((w * (away**2 - (away - w * away / (w + multiplier)) ** 2)).sum())
        return torch.tensor(np.array(gains))


def multiplier_for(radius: float, change: Callable[[float], np.ndarray], *, least: float) -> float:
    """The Lagrange multiplier at which the change has the radius' length; the least where none is longer."""

    def excess(multiplier: float) -> float:
        return float(np.linalg.norm(change(multiplier))) - radius

    return brentq(excess, least, 1e9, xtol=1e-15) if excess(least) > 0 else least


class BlurEnergy(Recording):
    """f(x) = mean of (b ∗ u)², with u = x where the sign is +1, 1 − x where it is −1, b a binomial window, ∗ circular.

    No value of b or u is negative, so that f grows with every u: its optimum in an l∞ ball is a corner. In the Fourier
    basis f is a weighted sum of squares, so that its optimum in an l2 ball is the root of one equation.
    """

    def __init__(self, signs: Tensor, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("signs", signs)
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("window", (row[:, None] * row[None, :]).expand(3, 1, 5, 5).clone())

    def forward(self, images: Tensor) -> Tensor:
        self._record(images)
        turned = F.pad(self.turned(images), (2, 2, 2, 2), mode="circular")
        return F.conv2d(turned, self.window, groups=3).square().mean(dim=(1, 2, 3))

    def turned(self, images: Tensor) -> Tensor:
        return torch.where(self.signs > 0, images, 1 - images)

    def largest_gain_linf(self, clean: Tensor, epsilon: float) -> Tensor:
        """Every u grows by ε."""
        window, turned = self.window.double(), F.pad(self.turned(clean.double()), (2, 2, 2, 2), mode="circular")
        before = F.conv2d(turned, window, groups=3)
        return ((before + epsilon).square() - before.square()).mean(dim=(1, 2, 3))  # the window adds up to 1

    def largest_gain_l2(self, clean: Tensor, radius: float) -> Tensor:
        """The change has the spectrum |b|² u ÷ (λ − |b|²), with the λ > 1 at which it has length r."""
        height, width = clean.shape[2:]
        kernel = np.zeros((height, width))
        kernel[:5, :5] = self.window[0, 0].double().numpy()
        share, gains = np.abs(np.fft.fft2(kernel)) ** 2, []
        for turned in self.turned(clean.double()).numpy():
            old = np.fft.fft2(turned, norm="ortho")
            multiplier = multiplier_for(radius, lambda m, old=old: share * old / (m - share), least=1 + 1e-9)
            new = old + share * old / (multiplier - share)
            gains.append((share * (np.abs(new) ** 2 - np.abs(old) ** 2)).sum() / old.size)
        return torch.tensor(np.array(gains))


class Noisy(Linear):
    """The linear score plus noise drawn twice in a forward pass, so that the order of draws shows."""

    def __init__(self, weights: Tensor, *, noise: float = 0.1, **spec: Any) -> None:
        super().__init__(weights, stochastic=True, **spec)
        self.noise = noise

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        added = streams.normal(3).sum(dim=1) + streams.uniform(2).sum(dim=1)
        return super().forward(images) + self.noise * added


class Dimmed(Linear):
    """u · f(x) with u drawn from [0, 1): values and gradients are scaled by the same number."""

    def __init__(self, weights: Tensor, **spec: Any) -> None:
        super().__init__(weights, stochastic=True, **spec)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return streams.uniform() * super().forward(images)


class Broken(Recording):
    """Returns whatever `answer` makes of the images."""

    def __init__(self, answer: Callable[[Tensor], Any], **spec: Any) -> None:
        super().__init__(**spec)
        self.answer = answer

    def forward(self, images: Tensor) -> Any:
        self._record(images)
        return self.answer(images)


@dataclass(frozen=True, kw_only=True)
class Scripted(Attack):
    """A white-box attack whose search is given as a function."""

    name: ClassVar[str] = "scripted"
    version: ClassVar[int] = 1
    access: ClassVar[AttackAccess] = "white-box"
    restriction: ClassVar[str] = "linf"
    varied_parameter: ClassVar[str] = "epsilon"
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    search: Callable[[Objective, Tensor, Streams], Tensor]
    epsilon: float = 4 / 255
    allowed: Budget | None = None

    @property
    def budget(self) -> Budget:
        return self.allowed or Linf(epsilon=self.epsilon)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        return self.search(objective, images, streams)


@dataclass(frozen=True, kw_only=True)
class ScriptedQueries(Scripted):
    """The same without gradients."""

    access: ClassVar[AttackAccess] = "black-box"


def pictures(count: int, height: int = 8, width: int = 9, *, seed: int = 0, low: int = 60, high: int = 196) -> Tensor:
    """(count, 3, height, width) on the grid k/255, levels low … high − 1: no budget of ours is clipped there."""
    levels = np.random.RandomState(seed).randint(low, high, (count, 3, height, width))
    return torch.from_numpy(levels.astype(np.float32)).div(255)


def gaussian(height: int = 8, width: int = 9, *, seed: int = 1, scale: float = 0.01) -> Tensor:
    """(3, height, width) Gaussian weights."""
    weights = np.random.RandomState(seed).standard_normal((3, height, width)) * scale
    return torch.from_numpy(weights.astype(np.float32))


def objective_of(
    metric: Metric, clean: Tensor, *, goal: Goal = RAISE, epsilon: float = 4 / 255, micro_batch: int = 3, **options: Any
) -> Objective:
    """An objective with streams named a, b, c …"""
    names = [chr(ord("a") + row) for row in range(len(clean))]
    scorer = Scorer(metric=metric, micro_batch=micro_batch)
    return Objective(scorer, goal, clean, Linf(epsilon=epsilon), Streams("key", names), **options)


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """Everything above; it has no state."""
    return SimpleNamespace(
        Recording=Recording,
        Linear=Linear,
        Quadratic=Quadratic,
        BlurEnergy=BlurEnergy,
        Noisy=Noisy,
        Dimmed=Dimmed,
        Broken=Broken,
        Scripted=Scripted,
        ScriptedQueries=ScriptedQueries,
        pictures=pictures,
        gaussian=gaussian,
        objective=objective_of,
    )
