"""Toy metrics with known answers, and toy attacks; handed out as fixtures, for nothing here can be imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.base import Attack, AttackAccess
from iqa_robustness.attacks.objectives import RAISE, Goal, Objective
from iqa_robustness.attacks.projections import Budget, Linf
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    """f(x) = offset + Σ w · x."""

    def __init__(self, weights: Tensor, *, offset: float = 0.0, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("weights", weights)
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        self._record(images)
        return self.offset + (images * self.weights).flatten(1).sum(dim=1)


class Quadratic(Recording):
    """f(x) = −Σ w · (x − c)², w > 0: a hill with its top at c."""

    def __init__(self, weights: Tensor, centre: Tensor, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("weights", weights)
        self.register_buffer("centre", centre)

    def forward(self, images: Tensor) -> Tensor:
        self._record(images)
        return -(self.weights * (images - self.centre).square()).flatten(1).sum(dim=1)


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
        Noisy=Noisy,
        Dimmed=Dimmed,
        Broken=Broken,
        Scripted=Scripted,
        ScriptedQueries=ScriptedQueries,
        pictures=pictures,
        gaussian=gaussian,
        objective=objective_of,
    )
