"""The attack template: a subclass writes `run`; everything that must be the same for all attacks is here."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import RAISE, BudgetExhausted, Goal, Objective
from iqa_robustness.attacks.projections import Budget
from iqa_robustness.encoders import Encoder, Lossless
from iqa_robustness.errors import AttackContractError, CapabilityError, ConfigurationError, IqaRobustnessError, Where
from iqa_robustness.images import checked_images, quantize
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

AttackAccess = Literal["white-box", "black-box"]


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """Adversarial images and what they cost.

    images: (N, 3, H, W) float32 on the grid k/255, inside the budget.
    clean: (N, 3, H, W), the attacked images as 8 bits hold them.
    values, clean_values: (N,) what the attacker reached and started from, in units of diam (higher is what it wants);
        means over the attack's `encoders`.
    forwards, backwards: (N,) int64, passes each image took part in; the final check of the result is included.
    gradient_finite, gradient_nonzero, responded: (N,) bool, evidence that the attack was able to work.
    trace: mean value over the images at each gradient step, in units of diam; empty for query attacks.
    seconds: wall time of the call.
    entrants: (N,) bool, the images that were attacked, where the attack leaves some as they are; None: every image.
    """

    images: Tensor
    clean: Tensor
    values: Tensor
    clean_values: Tensor
    forwards: Tensor
    backwards: Tensor
    gradient_finite: Tensor
    gradient_nonzero: Tensor
    responded: Tensor
    trace: tuple[float, ...]
    seconds: float
    entrants: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks. A subclass declares the class attributes, its parameters as fields, `budget` and `run`.

    name: as registered.              version: raised when its results change.
    access: `white-box` needs gradients, `black-box` only scores.
    restriction: `linf`, `l0`, `l2`, `ssim`, `psnr` or `none`.
    varied_parameter: the field that the strengths set.
    strengths: the fields of `weak`, `medium` and `strong`.
    paper: reproduce the published code where it differs on purpose; see each attack.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    access: ClassVar[AttackAccess]
    restriction: ClassVar[str]
    varied_parameter: ClassVar[str]
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]]

    paper: bool = False

    @property
    @abstractmethod
    def budget(self) -> Budget:
        """The set of allowed images."""

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """What an image goes through before the metric sees it: a value is the mean over them. As it is by default."""
        return (Lossless(),)

    def entrants(self, streams: Streams) -> Tensor | None:
        """(N,) bool, which images are attacked; the others are returned as they are. None, the default: every image.

        `streams` depend on the image and the seed alone: at every strength, on every metric they are the same images.
        """
        del streams
        return None

    def on_every_image(self) -> Self:
        """The attack without its choice of images: what shows whether it works."""
        return self

    @abstractmethod
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        """Search for images with a high objective; (N, 3, H, W) to the last iterate of the same shape.

        `objective` remembers the best images it was asked about; the result need not be one of them, nor allowed.
        """

    def doubled(self) -> Attack | None:
        """The attack with twice its iterations in the same budget, to see whether they were enough.

        None where there is nothing to double: a single step, queries (their number is the profile's), or training.
        """
        return None

    @final
    def __call__(
        self,
        metric: Metric,
        images: Tensor,
        *,
        seed: int = 0,
        ids: Sequence[str] | None = None,
        goal: Goal = RAISE,
        draws: int = 1,
        max_forwards: int | None = None,
        micro_batch: int = 4,
        key: str = "",
        references: Tensor | None = None,
    ) -> AttackResult:
        """Attack a metric, or a defended metric (then the attack is adaptive).

        The images are rounded to 8 bits first; an image file holds nothing finer. Of the rounded, allowed images whose
        score was seen, the best is returned, the clean one included (`paper=True`: the last one). Of an image that is
        no entrant the clean one is returned, for one query.

        Args:
            metric: the target.
            images: (N, 3, H, W) float32 RGB in [0, 1].
            seed: of the attack's own randomness; with `key` and the image's id it determines every draw.
            ids: names of the images, "0", "1", … by default.
            goal: raise, lower, or a target score.
            draws: forward passes averaged into one value of a stochastic metric.
            max_forwards: forward passes each image may spend at most; the attack ends there with its best.
            micro_batch: rows of every forward pass.
            key: what else the randomness may depend on, usually a store key.
            references: (N, 3, H, W) of the same kind, what a full-reference metric compares each image with; the
                image itself, rounded, when None.

        Raises:
            CapabilityError: a white-box attack on a query-only metric.
            ConfigurationError: ids or draws make no sense, or `max_forwards` does not even pay for one step.
            AttackContractError: the attack left its budget or the grid k/255, or asked about NaN.
            MetricContractError: the metric broke its contract.
        """
        started = time.perf_counter()
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(images)))
        self._check(metric, images, names, draws)
        try:
            clean = quantize(checked_images(images.detach()))
            streams = Streams(f"{key}/{seed}", names, device=clean.device)
            entrants = self.entrants(Streams(f"entrants/{seed}", names, device=clean.device))
            objective = Objective(
                Scorer(metric=metric, micro_batch=micro_batch),
                goal,
                clean,
                self.budget,
                streams.fork("metric"),
                draws=draws,
                max_forwards=max_forwards,
                reserve=self._reserve,
                references=None if references is None else checked_images(references.detach(), what="references"),
                encoders=self.encoders,
            )
            self._check_affordable(objective)
            if entrants is None:
                result, values = self._search(objective, streams.fork("attack"))
            else:
                result, values = self._search_some(objective, streams, entrants)
            clean_values = objective.query_clean()
        except IqaRobustnessError as error:
            raise error.at(metric=metric.spec.name, attack=self.name) from error.__cause__
        self._check_result(result, clean, names, metric)
        return AttackResult(
            images=result,
            clean=clean,
            values=values,
            clean_values=clean_values,
            forwards=objective.forwards,
            backwards=objective.backwards,
            gradient_finite=objective.gradient_finite,
            gradient_nonzero=objective.gradient_nonzero | (self.access == "black-box"),
            responded=objective.responded,
            trace=tuple(objective.trace),
            seconds=time.perf_counter() - started,
            entrants=entrants,
        )

    def _search_some(self, objective: Objective, streams: Streams, entrants: Tensor) -> tuple[Tensor, Tensor]:
        """Search for the entrants; the others are asked about once, and stay as they are."""
        images, values = objective.clean.clone(), torch.zeros_like(objective.best_values)
        for places, attacked in ((entrants, True), (~entrants, False)):
            rows = places.nonzero().flatten()
            part = objective.part(rows)
            if attacked:
                images[rows], values[rows] = self._search(part, streams.select(rows).fork("attack"))
            else:
                values[rows] = part.query_clean()
            objective.absorb(part, rows)
        return images, values

    def _search(self, objective: Objective, streams: Streams) -> tuple[Tensor, Tensor]:
        """Run, then score what only gradients have seen; the images to return and their values."""
        if self.access == "black-box":
            objective.query_clean()
        last = objective.clean
        with contextlib.suppress(BudgetExhausted):
            last = self.run(objective, objective.clean.clone(), streams)
        objective.reserve = 0  # it pays for the checks below
        objective.query_clean()
        if self.paper:
            last = objective.budget.admit(last.detach(), objective.clean)
            unknown = (last != objective.best).flatten(1).any(dim=1).nonzero().flatten()
            values = objective.best_values.clone()
            values[unknown] = objective.values(last[unknown], unknown)
            return last, values
        if self.access == "white-box":
            values = objective.values(last)
            behind = (objective.iterate_values > values).nonzero().flatten()
            behind = behind[self._unscored(objective.iterate[behind], last[behind], objective.clean[behind])]
            if len(behind):
                objective.values(objective.iterate[behind], behind)
        return objective.best, objective.best_values

    def _unscored(self, iterates: Tensor, *scored: Tensor) -> Tensor:
        """(N,) bool: which iterates are none of those that have been scored."""
        others = [(iterates != images).flatten(1).any(dim=1) for images in scored]
        return torch.stack(others).all(dim=0)

    @property
    def _reserve(self) -> int:
        """Queries an image that `_search` may spend after the run: clean, last iterate, best iterate."""
        return 3 if self.access == "white-box" else int(self.paper)

    def _check(self, metric: Metric, images: Tensor, names: tuple[str, ...], draws: int) -> None:
        if self.access == "white-box" and metric.spec.access == "query-only":
            raise CapabilityError(
                f"{self.name} needs gradients, and the metric answers queries only",
                where=Where(metric=metric.spec.name, attack=self.name),
                fix="attack it with a black-box attack, or transfer images made against another metric",
            )
        if len(names) != len(images) or len(set(names)) != len(names):
            raise ConfigurationError(f"{len(images)} images need as many different ids, got {len(set(names))}")
        if draws < 1:
            raise ConfigurationError(f"draws must be at least 1, got {draws}")

    def _check_affordable(self, objective: Objective) -> None:
        # A gradient step, or (after the clean image) one query, and the final check.
        least = (self._reserve + (1 if self.access == "white-box" else 2)) * objective.passes
        if objective.max_forwards is not None and objective.max_forwards < least:
            raise ConfigurationError(
                f"{objective.max_forwards} forward passes an image do not pay for one step of {self.name}: "
                f"it needs at least {least}",
                fix="raise max_forwards (--iqa-max-queries)",
            )

    def _check_result(self, result: Tensor, clean: Tensor, names: tuple[str, ...], metric: Metric) -> None:
        left, rounded = self.budget.violations(result, clean), quantize(result)
        # NaN differs from itself, values outside [0, 1] from their clamped selves.
        if bool(left.any()) or not torch.equal(result, rounded):
            row = int((left | (result != rounded).flatten(1).any(dim=1)).nonzero()[0])
            raise AttackContractError(
                f"the attack left its budget: {float(self.budget.size(result, clean)[row]):.6g} after 8-bit rounding, "
                f"{self.budget.limit:.6g} allowed ({self.restriction})"
                if bool(left[row])
                else "the attack returned an image off the grid k/255",
                where=Where(metric=metric.spec.name, attack=self.name, image=names[row]),
                fix="the budget's `admit` must map every image into the budget, onto the grid k/255",
            )
