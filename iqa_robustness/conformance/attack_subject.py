"""An attack to be checked: made at any strength, run on its reference, each run done once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor

from iqa_robustness import attacks, datasets
from iqa_robustness.attacks.base import Attack, AttackResult
from iqa_robustness.attacks.objectives import LOWER, RAISE, Shift
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.conformance.pictures import photographs
from iqa_robustness.conformance.targets import Counted, reference_for
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric

ResultT = TypeVar("ResultT")
STRENGTHS = attacks.STRENGTHS
GOALS = (RAISE, LOWER)
# Forward passes of an attack that counts its queries: enough to gain, and enough to repeat itself in every way.
QUERIES, FEW_QUERIES = 60, 24
IDS = ("a", "b", "c")
SIZE = (48, 64)
_SHORT = {"epochs": 4, "batch": 2}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of an attack on three photographs of 48 x 64, called a, b and c.

    forwards, backwards: images that the metric itself saw.
    """

    attack: Attack
    clean: Tensor
    metric: Metric
    goal: Shift
    result: AttackResult
    forwards: int
    backwards: int

    @property
    def gain(self) -> float:
        """Mean over the images, as a share of the range."""
        return float((self.result.values - self.result.clean_values).mean())


class AttackSubject:
    """An attack under the checks.

    Args:
        reference: as `attacks.create` takes it.
        device: torch device of images and target.
        options: parameters at every strength.

    Raises:
        UnknownNameError, ConfigurationError: what `attacks.create` raises; an option that the strengths set.
    """

    def __init__(self, reference: str, *, device: str = "cpu", options: Mapping[str, Any] | None = None) -> None:
        self.reference = reference
        self.device = device
        self.options = dict(options or {})
        self.kind = type(attacks.create(reference, **self.options))
        strengths = getattr(self.kind, "strengths", {})
        for option in self.options:
            if any(option in values for values in strengths.values()):
                raise ConfigurationError(
                    f"{option} is what the strengths of {reference!r} set", fix="leave it out; every strength is tried"
                )
        self._done: dict[Hashable, Any] = {}

    def made(
        self,
        strength: str = "medium",
        *,
        queries: int = QUERIES,
        goal: Shift = RAISE,
        size: tuple[int, int] = SIZE,
        **changes: Any,
    ) -> Attack:
        """The attack at a strength, with few queries where it counts them and `options` do not say how many.

        One that chooses among the images attacks every one (`chosen` is as it comes). One that is trained has an
        artefact of a short training for that goal and size.
        """
        attack = attacks.create(self.reference, strength=strength, **self.options).on_every_image()
        if hasattr(attack, "queries") and "queries" not in self.options:
            changes = {"queries": queries, **changes}
        if isinstance(attack, TrainedAttack) and attack.artefact is None:
            return self._trained(replace(attack, **{**_SHORT, **changes}), goal, size)
        return replace(attack, **changes)

    def chosen(self) -> Attack:
        """The attack as it comes, which may leave images out."""
        return attacks.create(self.reference, **self.options)

    def _trained(self, attack: TrainedAttack, goal: Shift, size: tuple[int, int]) -> Attack:
        def train() -> bytes:
            pictures = view(datasets.load(attack.dataset), size=attack.training_size(size)).batch(range(4))
            target = reference_for(attack, device=self.device)
            return attack.train(target, pictures.to(self.device), goal=goal, device=self.device)

        return replace(attack, artefact=self.once((attack.untrained(), goal, size), train))

    def frugal(self, strength: str = "medium", **changes: Any) -> Attack:
        """The attack with too few queries to be strong, enough to do all that it does."""
        return self.made(strength, queries=FEW_QUERIES, **changes)

    def reference_metric(self) -> Metric:
        """The planted metric that it must move."""
        return reference_for(attacks.create(self.reference, **self.options), device=self.device)

    def counted(self, **facts: Any) -> Counted:
        """The same, counted, with some facts of its spec changed."""
        return Counted(self.reference_metric(), **facts)

    def photographs(self, count: int = len(IDS), height: int = 48, width: int = 64) -> Tensor:
        """Photographs on the device."""
        return photographs(count, height, width).to(self.device)

    def once(self, key: Hashable, work: Callable[[], ResultT]) -> ResultT:
        """What `work` returned the first time; two checks may look at the same run."""
        if key not in self._done:
            self._done[key] = work()
        found: ResultT = self._done[key]
        return found

    def run(self, strength: str, goal: Shift = RAISE) -> Run:
        """The attack on three photographs; each strength and goal is run once."""
        return self.once((strength, goal), lambda: self._run(strength, goal))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every strength with every goal."""
        return tuple(self.run(strength, goal) for strength in STRENGTHS for goal in GOALS)

    def _run(self, strength: str, goal: Shift) -> Run:
        metric, clean, attack = self.counted(), self.photographs(), self.made(strength, goal=goal)
        result = attack(metric, clean.clone(), ids=IDS, goal=goal)
        return Run(
            attack=attack,
            clean=clean,
            metric=metric.metric,
            goal=goal,
            result=result,
            forwards=metric.forwards,
            backwards=metric.backwards,
        )
