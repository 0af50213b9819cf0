"""The training that trained attacks share: steps on images in a random order, from a checkpoint on if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from iqa_robustness.attacks.checkpoint import Checkpoint
from iqa_robustness.attacks.objectives import Objective, Shift
from iqa_robustness.datasets.base import View
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams, seed_of

if TYPE_CHECKING:
    from iqa_robustness.attacks.trained import TrainedAttack, TrainingProgress


class Training:
    """One training of an attack against a metric, step by step.

    learner: what is trained.
    """

    def __init__(
        self,
        attack: TrainedAttack,
        metric: Metric,
        images: Tensor | View,
        goal: Shift,
        key: str,
        micro_batch: int,
        device: torch.device,
    ) -> None:
        attack = attack.untrained()
        self.attack, self.images, self.key, self.device = attack, images, key, device
        self.goal = attack.training_goal(goal)
        self.scorer = Scorer(metric=metric, micro_batch=micro_batch)
        size = (images.shape[-2], images.shape[-1]) if isinstance(images, Tensor) else images.size
        self.learner = attack.learner(size, seed=seed_of(key, "start"), device=device)
        self.name = Key({"attack": document_of(attack), "goal": goal.direction, "key": key, "size": [*size]}).digest

    def run(self, progress: TrainingProgress, checkpoint: Path | None) -> None:
        """All steps, from the checkpoint on if there is one."""
        count, batch = len(self.images), self.attack.batch
        steps = [(epoch, start) for epoch in range(self.attack.epochs) for start in range(0, count, batch)]
        saved = None if checkpoint is None else Checkpoint(path=checkpoint, training=self.name)
        found = saved.load() if saved else None
        first = 0
        if found is not None:
            first, state = found
            self.learner.restore({name: tensor.to(self.device) for name, tensor in state.items()})
        for number, (epoch, start) in enumerate(steps[first:], start=first):
            rows = self._order(epoch)[start : start + batch]
            self._step(rows, number)
            self.learner.update(number / len(steps))
            progress(epoch * count + start + len(rows), self.attack.epochs * count)
            if saved:
                saved.offer(number + 1, self.learner.state)

    def _step(self, rows: list[int], number: int) -> None:
        """Leave the gradient of minus the mean objective in the learner."""
        images = self._batch(rows, number)
        streams = Streams(f"{self.key}/{number}", [str(row) for row in rows], device=self.device)
        objective = Objective(self.scorer, self.goal, images, self.attack.budget, streams)
        with torch.enable_grad():
            change = self.learner.perturbations(images)
            moved = images + self.attack.epsilon * change
            perturbed = moved.clamp(0, 1)
            _, slopes = objective.values_and_gradients(perturbed.detach())
            perturbed.backward(gradient=-slopes / len(rows))

    def _batch(self, rows: list[int], number: int) -> Tensor:
        """The images of a step on the device, every other one mirrored, by chance."""
        images = self.images[rows] if isinstance(self.images, Tensor) else self.images.batch(rows)
        mirrored = torch.randint(2, (len(rows), 1, 1, 1), generator=self._generator("mirror", number)).bool()
        return torch.where(mirrored.to(images.device), images.flip(3), images).to(self.device)

    def _order(self, epoch: int) -> list[int]:
        order: list[int] = torch.randperm(len(self.images), generator=self._generator("order", epoch)).tolist()
        return order

    def _generator(self, purpose: str, number: int) -> Generator:
        # Counted and not carried on: a training that goes on needs no generator's state.
        return Generator().manual_seed(seed_of(self.key, purpose, str(number)))
