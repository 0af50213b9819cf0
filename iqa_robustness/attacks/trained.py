"""Attacks that apply what a training on other images has found: the template."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, Self, final

import torch
from torch import Tensor

from iqa_robustness.attacks.artefact import Artefact, packed
from iqa_robustness.attacks.base import AttackAccess
from iqa_robustness.attacks.learning import Training
from iqa_robustness.attacks.linf import LinfAttack
from iqa_robustness.attacks.objectives import RAISE, Goal, Objective, Shift
from iqa_robustness.datasets.base import View
from iqa_robustness.errors import (
    ArtefactError,
    CapabilityError,
    ConfigurationError,
    IqaRobustnessError,
    Where,
)
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.streams import Streams


class Learner(ABC):
    """What is trained. `state` and `restore` hold everything that decides how it goes on."""

    @abstractmethod
    def perturbations(self, images: Tensor) -> Tensor:
        """In units of epsilon, with a graph: (N, 3, H, W) to the same shape, or to (1, 3, H, W) for all."""

    @abstractmethod
    def update(self, share: float) -> None:
        """Take a step against the gradients that a backward pass has left; `share` of all steps was done before."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors by name."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What the attack needs of it."""


class TrainingProgress(Protocol):
    """Told how far a training is."""

    def __call__(self, done: int, total: int) -> None:
        """Take in the images learned from, and how many it will be."""
        ...


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class ScoreUp:
    """The score upwards, whatever the direction of the metric: what published trainings do that ignore it."""

    def values(self, scores: Tensor, spec: MetricSpec) -> Tensor:
        """(N,) scores ÷ diam."""
        return scores / spec.diam

    def reached(self, values: Tensor) -> Tensor:
        """Nowhere."""
        return torch.zeros_like(values, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class TrainedAttack(LinfAttack):
    """Base of the attacks with an artefact: a perturbation or a generator of them, trained once and applied at once.

    A subclass writes `learner`, which is trained, and `perturbations`, which applies its tensors. An artefact is
    trained for one metric (or defended metric) and one direction of its score; another direction is refused.

    artefact: from `train`, or the file that `iqa-robustness train attack --out` wrote; a run with a store trains it
        where it is None, as a stage of its own. Its digest is part of every key.
    epsilon: l∞, in units of 1; an artefact of another epsilon is scaled.
    dataset: reference of the images it is trained on, never those that are attacked.
    epochs, batch: passes over these images, images a step.
    """

    access: ClassVar[AttackAccess] = "white-box"

    artefact: Artefact | bytes | str | os.PathLike[str] | None = None
    dataset: str = "leaves"
    epochs: int = 20
    batch: int = 4

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ConfigurationError(
                f"{self.name} needs epochs >= 1 and batch >= 1, got {self.epochs} and {self.batch}"
            )
        super().__post_init__()
        if isinstance(self.artefact, bytes):
            object.__setattr__(self, "artefact", Artefact(data=self.artefact))
        elif isinstance(self.artefact, str | os.PathLike):
            object.__setattr__(self, "artefact", Artefact.read(self.artefact))

    @abstractmethod
    def learner(self, size: tuple[int, int], *, seed: int, device: torch.device) -> Learner:
        """What is trained, before the first step, for images of `size` = (height, width)."""

    @abstractmethod
    def perturbations(self, tensors: Mapping[str, Tensor], images: Tensor, *, micro_batch: int) -> Tensor:
        """In units of epsilon: (N, 3, H, W) to the same shape, or to (1, 3, H, W) for all."""

    def untrained(self) -> Self:
        """What its training depends on: the attack without an artefact, and at the epsilon it is trained at."""
        return replace(self, artefact=None)

    def training_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the training images for attacked images of `size`."""
        return size

    def training_goal(self, goal: Shift) -> Goal:
        """What is maximised in training."""
        return goal

    @final
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Add the perturbation; one forward and one backward at the clean image, whose score is needed anyway.

        The gradient moves nothing. It is the evidence that the metric has one, without which no training works.

        Raises:
            ArtefactError: there is none, or it is another attack's, or trained for another direction.
        """
        del streams
        artefact = self._checked_artefact(objective.goal)
        objective.values_and_gradients(images)
        tensors = artefact.tensors(images.device)
        change = self.perturbations(tensors, images, micro_batch=objective.scorer.micro_batch)
        return self.budget.project(images + self.epsilon * change, images)

    @final
    def train(
        self,
        metric: Metric,
        images: Tensor | View,
        *,
        goal: Shift = RAISE,
        seed: int = 0,
        key: str = "",
        micro_batch: int = 4,
        device: torch.device | str = "cpu",
        progress: TrainingProgress = no_progress,
        checkpoint: Path | None = None,
    ) -> bytes:
        """Train against a metric, or a defended metric; `dataclasses.replace(attack, artefact=…)` takes the result.

        Every step adds the perturbations to `batch` images, mirrored at random, and follows the mean gradient of the
        objective. Equal arguments give equal bytes on one machine type, also after an interruption.
        Cost: `epochs` forwards and backwards of every image, and the learner's own.

        Args:
            metric: the target, on `device`.
            images: (N, 3, H, W) float32 RGB in [0, 1], or a view of a data set; its scores are not looked at.
            goal: raise or lower.
            seed: of order, mirroring, initial values and the metric's noise.
            key: what else the randomness may depend on, usually a store key.
            micro_batch: rows of every forward pass of the metric.
            device: where it is computed.
            progress: told after every step.
            checkpoint: a file that an interrupted training goes on from, and keeps; None for no such thing.

        Returns:
            The artefact's file.

        Raises:
            CapabilityError: the metric answers queries only.
            ConfigurationError: no images, or a goal without a direction.
            MetricContractError: the metric broke its contract.
        """
        where = Where(metric=metric.spec.name, attack=self.name)
        if metric.spec.access == "query-only":
            raise CapabilityError(
                f"{self.name} is trained with gradients, and the metric answers queries only", where=where
            )
        if not len(images) or not isinstance(goal, Shift):
            raise ConfigurationError(f"{self.name} is trained on images, to raise or to lower a score", where=where)
        training = Training(self, metric, images, goal, f"{key}/{seed}", micro_batch, torch.device(device))
        try:
            training.run(progress, checkpoint)
        except IqaRobustnessError as error:
            raise error.at(metric=metric.spec.name, attack=self.name) from error.__cause__
        return packed(
            training.learner.tensors(), {"attack": self.name, "version": self.version, "direction": goal.direction}
        )

    def _checked_artefact(self, goal: Goal) -> Artefact:
        command = f"iqa-robustness train attack {self.name} --iqa-metric METRIC --out {self.name}.safetensors"
        if not isinstance(self.artefact, Artefact):
            raise ArtefactError(
                f"{self.name} applies what it was trained to do, and no artefact is given",
                fix=f"train one: {command}; then give artefact='{self.name}.safetensors'",
            )
        facts = self.artefact.facts
        wanted = goal.direction if isinstance(goal, Shift) else "no direction"
        for fact, here in (("attack", self.name), ("version", self.version), ("direction", wanted)):
            if facts[fact] != here:
                raise ArtefactError(
                    f"the artefact was trained for {fact} {facts[fact]!r}, and {here!r} is asked of it",
                    fix=f"train another: {command} --goal {wanted}" if fact == "direction" else f"train one: {command}",
                )
        return self.artefact
