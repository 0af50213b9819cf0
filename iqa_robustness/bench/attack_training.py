"""The training of an attack against one target: what it depends on, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.trained import TrainedAttack, TrainingProgress
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.leakage import share_contents
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.sources import Clean
from iqa_robustness.datasets.base import View
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.store import Entry, Key, document_of

ARTEFACT = "artefact.safetensors"


@dataclass(frozen=True, kw_only=True)
class AttackTraining:
    """A training that is to be done, or was.

    attack: configured; an artefact that it has plays no part.
    pair: its metric, or (adaptive) the defended one, is the target.
    goal: `raise` or `lower`.
    images: what is learned from.
    seed: of everything random.
    """

    attack: TrainedAttack
    pair: Pair
    adaptive: bool
    goal: str
    images: View
    seed: int
    numerics: Numerics

    @property
    def metric(self) -> Metric:
        """The target."""
        return self.pair.guarded if self.adaptive else self.pair.subject.metric

    @property
    def label(self) -> str:
        """For progress and messages."""
        return f"training of {self.attack.name} against {self.metric.spec.name}"

    @cached_property
    def key(self) -> Key:
        """Everything that the artefact depends on."""
        return Key(
            {
                "stage": "trained-attack",
                "schema": 1,
                "attack": document_of(self.attack.untrained()),
                "goal": self.goal,
                "target": self.pair.document if self.adaptive else {"metric": self.pair.subject.document},
                "images": self.images.digest,
                "seed": self.seed,
                "numerics": self.numerics.document,
            }
        )

    def refuse_leakage(self, judged: Clean) -> None:
        """Raise ConfigurationError when contents are both learned from and attacked."""
        if share_contents(self.images, judged.view):
            raise ConfigurationError(
                f"{self.attack.name} would be trained on the images that it is judged on",
                where=Where(attack=self.attack.name, dataset=self.images.name),
                fix="train it on another data set (leaves needs no files), or attack another one",
            )

    def files(self, progress: TrainingProgress, checkpoint: Path) -> dict[str, bytes | Path]:
        """Train now: the files of the store's entry. Goes on from the checkpoint if there is one."""
        learned = self.attack.train(
            self.metric,
            self.images,
            goal=RAISE if self.goal == "raise" else LOWER,
            seed=self.seed,
            key=self.key.digest,
            micro_batch=self.numerics.micro_batch,
            device=self.numerics.device,
            progress=progress,
            checkpoint=checkpoint,
        )
        return {ARTEFACT: learned}


def artefact_of(entry: Entry) -> bytes:
    """What a training has left, verified."""
    return entry.read(ARTEFACT)
