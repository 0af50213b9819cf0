"""What an attacker wants of a score, and the one door through which attacks reach the metric.

The direction of a metric (lower is better) is handled here and nowhere else: every value an attack sees is
*higher is what the attacker wants*, in units of the score range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from iqa_robustness.attacks.gradients import finite_and_nonzero
from iqa_robustness.attacks.projections import Budget
from iqa_robustness.encoders import Encoder, Lossless
from iqa_robustness.errors import AttackContractError, Where
from iqa_robustness.images import same_bits
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.encoded import EncodedMetric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

# Larger tensors take longer to allocate than to fill.
_VALUES_AT_ONCE = 2**22


class Goal(Protocol):
    """Turns scores into values to maximise."""

    def values(self, scores: Tensor, spec: MetricSpec) -> Tensor:
        """(N,) scores in score units to (N,) values in units of diam, higher is what the attacker wants."""
        ...

    def reached(self, values: Tensor) -> Tensor:
        """(N,) bool: where nothing more is wanted, so that the image can stop."""
        ...


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Move the quality that the metric reports up (`raise`) or down (`lower`), as far as it goes."""

    direction: Literal["raise", "lower"] = "raise"

    def values(self, scores: Tensor, spec: MetricSpec) -> Tensor:
        """The score towards (or away from) better, ÷ diam."""
        return scores * ((spec.sign if self.direction == "raise" else -spec.sign) / spec.diam)

    def reached(self, values: Tensor) -> Tensor:
        """Nowhere: more is always wanted."""
        return torch.zeros_like(values, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class Towards:
    """Hit a target score, in score units; an image stops once it is nearer than `tolerance` × diam."""

    score: float
    tolerance: float = 0.005

    def values(self, scores: Tensor, spec: MetricSpec) -> Tensor:
        """Minus the distance to the target, ÷ diam."""
        return -(scores - self.score).abs() / spec.diam

    def reached(self, values: Tensor) -> Tensor:
        """Where the distance is within the tolerance."""
        return values >= -self.tolerance


RAISE, LOWER = Shift(direction="raise"), Shift(direction="lower")


class BudgetExhausted(Exception):
    """Every image has spent its forward passes; the attack template ends the run and keeps the best."""


class Objective:
    """The metric as an attack sees it: values to maximise, counted, budgeted, and with the best image remembered.

    Args:
        scorer: the metric in micro-batches.
        goal: what the attacker wants.
        clean: (N, 3, H, W), on the grid k/255; "row" below is an index into its first axis.
        budget: which images are allowed.
        streams: noise of a stochastic metric, and the images' names.
        draws: forward passes averaged into one value (expectation over transformation); 1 for deterministic metrics.
        max_forwards: forward passes each image may spend, None for no limit.
        reserve: queries of each image that `values` and `values_and_gradients` leave unspent, for the final check.
        references: (N, 3, H, W), what a full-reference metric compares each image with; the clean image when None.
        encoders: what images go through before the metric sees them; a value is the mean over them, and costs as many
            passes. The best image is the one that is best after them; it is remembered as it was before.
    """

    def __init__(
        self,
        scorer: Scorer,
        goal: Goal,
        clean: Tensor,
        budget: Budget,
        streams: Streams,
        *,
        draws: int = 1,
        max_forwards: int | None = None,
        reserve: int = 0,
        references: Tensor | None = None,
        encoders: Sequence[Encoder] = (Lossless(),),
    ) -> None:
        count, device = len(clean), clean.device
        self.scorer, self.goal, self.budget, self.streams = scorer, goal, budget, streams
        self.clean = clean
        full_reference = scorer.metric.spec.full_reference
        self.references = (clean if references is None else references) if full_reference else None
        self.draws, self.encoders = draws if scorer.metric.spec.stochastic else 1, encoders
        # Forward passes of one value, each with the scorer that makes it.
        self._passes = [each for each in (_behind(encoder, scorer) for encoder in encoders) for _ in range(self.draws)]
        self.max_forwards, self.reserve = max_forwards, reserve
        self.forwards = torch.zeros(count, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(count, dtype=torch.int64, device=device)
        self.gradient_finite = torch.ones(count, dtype=torch.bool, device=device)
        self.gradient_nonzero = torch.zeros(count, dtype=torch.bool, device=device)
        self.responded = torch.zeros(count, dtype=torch.bool, device=device)
        self.clean_values: Tensor | None = None
        self.best = clean.clone()
        self.best_values = torch.full((count,), -torch.inf, device=device)
        # The best floating-point image a gradient was taken at; its rounded form is scored when the attack ends.
        # Until one is better than the clean image, it is that image.
        self.iterate = clean
        self.iterate_values = torch.full((count,), -torch.inf, device=device)
        self.trace: list[float] = []
        self._first: Tensor | None = None

    @property
    def passes(self) -> int:
        """Forward passes of one value: draws × encoders."""
        return len(self._passes)

    def query_clean(self) -> Tensor:
        """The values (N,) of the clean images; asked for once, `passes` forwards each."""
        if self.clean_values is None:
            self.clean_values = self.values(self.clean)
        return self.clean_values.clone()

    def part(self, rows: Tensor) -> Objective:
        """An objective over some of the images, (M,) int64, which has asked nothing yet; `absorb` takes it back."""
        return Objective(
            self.scorer,
            self.goal,
            self.clean[rows],
            self.budget,
            self.streams.select(rows),
            draws=self.draws,
            max_forwards=self.max_forwards,
            reserve=self.reserve,
            references=self._references(rows),
            encoders=self.encoders,
        )

    def absorb(self, part: Objective, rows: Tensor) -> None:
        """Take in what a `part` over these rows has paid for, seen and found."""
        clean_values = self.best_values.clone() if self.clean_values is None else self.clean_values
        clean_values[rows] = part.query_clean()
        self.clean_values = clean_values
        for name in ("forwards", "backwards", "gradient_finite", "gradient_nonzero", "responded"):
            getattr(self, name)[rows] = getattr(part, name)
        self.trace += part.trace

    def values(self, candidates: Tensor, rows: Tensor | None = None, *, rounded: bool = True) -> Tensor:
        """Query candidates, made admissible first; the best of each image is remembered.

        Args:
            candidates: (M, 3, H, W), any values.
            rows: (M,) int64, the image each candidate belongs to, in any order and number; all in order when None.
            rounded: False to ask about the candidates in floating point, inside the budget but off the 8-bit grid, as
                published attacks do that probe with steps below one level. No such candidate is remembered.

        Returns:
            (M,) values; `passes` forwards each. Candidates whose image has no budget left are not evaluated: −inf.

        Raises:
            BudgetExhausted: no candidate can be paid for.
            AttackContractError: a candidate holds NaN, or candidates and rows differ in number.
        """
        candidates = self._checked(candidates, rows)
        every = self._every_row() if rows is None else rows
        able = self._affordable(rows)
        confined = self.budget.admit if rounded else self.budget.project
        values = torch.full((len(candidates),), -torch.inf, device=candidates.device)
        for part in self._parts(every, able):
            images = confined(candidates[part], self.clean[part if rows is None else rows[part]])
            values[part] = self._evaluate(images, every[part])
            if rounded:
                self._remember(images, values[part], every[part])
        if able is None:
            self._note_response(values, rows)
        else:
            self._note_response(values[able], every[able])
        return values

    def values_and_gradients(self, images: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values (M,) and gradients (M, 3, H, W) at floating-point images.

        `passes` forwards and backwards an image, averaged. A gradient that is not finite is flagged and becomes zero.
        The best iterate is remembered; the template scores its rounded form at the end. A distance has no slope where
        it is least: of an image that is its own reference, both are taken half a level beside it.

        Args:
            images: (M, 3, H, W) in [0, 1].
            rows: (M,) int64, distinct; all in order when None.

        Raises:
            BudgetExhausted: not every image can pay, with enough left for the final check of the result.
            AttackContractError: an image holds NaN, images and rows differ in number, or a row appears twice.
        """
        images = self._checked(images, rows, distinct=True)
        if self._affordable(rows) is not None:
            raise BudgetExhausted
        every = self._every_row() if rows is None else rows
        streams = self.streams if rows is None else self.streams.select(rows)
        references = self._references(rows)
        if references is not None:
            images = self._beside(images, references, rows)
        values, gradients = self._averaged(images, streams, references)
        finite, nonzero = finite_and_nonzero(gradients)
        if not bool(finite.all()):
            gradients = torch.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)
            nonzero = finite_and_nonzero(gradients)[1]
        self.gradient_finite[every] &= finite
        self.gradient_nonzero[every] |= nonzero
        # At the first look only: to compare at every step costs a small metric a per cent.
        if rows is None and not bool(self.forwards.any()) and same_bits(images, self.clean):
            # `best` and `iterate` hold the clean images already.
            self.clean_values, self.best_values, self.iterate_values = (values.clone() for _ in range(3))
        else:
            better = values > self.iterate_values[every]
            self.iterate_values[every] = torch.where(better, values, self.iterate_values[every])
            places = better.nonzero().flatten().tolist()
            if places and self.iterate is self.clean:
                self.iterate = self.clean.clone()
            for place in places:
                self.iterate[place if rows is None else rows[place]] = images[place]
        self._note_response(values, rows)
        self.forwards[every] += self.passes
        self.backwards[every] += self.passes
        if len(values):
            self.trace.append(float(values.double().mean()))
        return values, gradients

    @property
    def at_once(self) -> int:
        """Candidates to ask about in one call of `values`: whole micro-batches of about 16 MiB."""
        fitting = _VALUES_AT_ONCE // max(self.clean.shape[1:].numel(), 1)
        return max(fitting // self.scorer.micro_batch, 1) * self.scorer.micro_batch

    def unfinished(self) -> Tensor:
        """Rows that have not reached the goal and can still pay for a query, (M,) int64."""
        open_rows = ~self.goal.reached(self.best_values)
        if self.max_forwards is not None:
            open_rows &= self.forwards + (1 + self.reserve) * self.passes <= self.max_forwards
        return open_rows.nonzero().flatten()

    def _checked(self, images: Tensor, rows: Tensor | None, *, distinct: bool = False) -> Tensor:
        """What an attack asks about, without its graph (an attack may use autograd of its own)."""
        wanted = len(self.clean) if rows is None else len(rows)
        if images.shape != (wanted, *self.clean.shape[1:]):
            raise AttackContractError(
                f"the attack asked about {tuple(images.shape)} for {wanted} rows of {tuple(self.clean.shape)}",
                fix="give one candidate a row, each of the clean images' shape",
            )
        if distinct and rows is not None and len(rows.unique()) != len(rows):
            raise AttackContractError("the attack asked for gradients of one image twice in a call")
        images = images.detach()
        # A sum is an order of magnitude faster than a mask, and finite only where no value is NaN.
        if not bool(torch.isfinite(images.sum(dim=(1, 2, 3))).all()) and bool(torch.isnan(images).any()):
            first = int(torch.isnan(images).flatten(1).any(dim=1).nonzero()[0])
            raise AttackContractError(
                "the attack asked about an image that holds NaN",
                where=Where(image=self.streams.ids[first if rows is None else int(rows[first])]),
                fix="look for a division by a zero norm in the attack's step",
            )
        return images.to(self.clean.dtype)

    def _averaged(self, images: Tensor, streams: Streams, references: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values and gradients in the goal's units, means over the passes."""
        total, slope = torch.zeros(len(images), device=images.device), torch.zeros(0)
        for number, scorer in enumerate(self._passes):
            scores, slopes = scorer.scores_and_gradients(
                images, streams=streams, references=references, factors=self._factor
            )
            total += self.goal.values(scores, scorer.metric.spec) / self.passes
            # In place: the scorer's tensor is new, and each further one would cost a per cent of a small metric's time.
            if self.passes > 1:
                slopes.div_(self.passes)
            slope = slope.add_(slopes) if number else slopes
        return total, slope

    def _references(self, rows: Tensor | None) -> Tensor | None:
        return self.references if self.references is None or rows is None else self.references[rows]

    def _beside(self, images: Tensor, references: Tensor, rows: Tensor | None) -> Tensor:
        same = (images == references).flatten(1).all(dim=1)
        streams = self.streams if rows is None else self.streams.select(rows)
        moved = images + streams.fork("beside").signs(*images.shape[1:]) / 510
        moved = self.budget.project(moved, self.clean if rows is None else self.clean[rows])
        return torch.where(same[:, None, None, None], moved, images)

    def _every_row(self) -> Tensor:
        return torch.arange(len(self.clean), device=self.clean.device)

    def _affordable(self, rows: Tensor | None) -> Tensor | None:
        """(M,) bool, which candidates can be paid for; None when all can. A row that appears twice pays twice."""
        if self.max_forwards is None:
            return None
        wanted = self._every_row() if rows is None else rows
        able = self.forwards[wanted] + (_earlier(wanted) + 1 + self.reserve) * self.passes <= self.max_forwards
        if bool(able.all()):
            return None
        if not bool(able.any()):
            raise BudgetExhausted
        return able

    def _parts(self, rows: Tensor, able: Tensor | None) -> Iterator[slice | Tensor]:
        """The candidates that are paid for, as many at a time as a forward pass takes: they stay in the cache.

        A metric that draws gets each image once at a time: else companions decide which draw is whose.
        """
        if able is None and not self.scorer.metric.spec.stochastic:
            yield from (slice(at, at + self.scorer.micro_batch) for at in range(0, len(rows), self.scorer.micro_batch))
            return
        places = torch.arange(len(rows), device=rows.device) if able is None else able.nonzero().flatten()
        if not self.scorer.metric.spec.stochastic:
            yield from places.split(self.scorer.micro_batch)
            return
        turn = _earlier(rows[places])
        for number in range(int(turn.max()) + 1 if len(turn) else 0):
            yield from places[turn == number].split(self.scorer.micro_batch)

    def _evaluate(self, images: Tensor, rows: Tensor) -> Tensor:
        """Values (M,) of images as they are; `passes` forwards each."""
        streams, references = self.streams.select(rows), self._references(rows)
        values = torch.zeros(len(images), device=images.device)
        for scorer in self._passes:
            scores = scorer.scores(images, streams=streams, references=references)
            values += self.goal.values(scores, scorer.metric.spec) / self.passes
        self.forwards.index_add_(0, rows, torch.full_like(rows, self.passes))
        return values

    def _note_response(self, values: Tensor, rows: Tensor | None) -> None:
        """Remember which images ever gave another value than on the first look at all of them."""
        if rows is None:
            if self._first is None:
                self._first = values.clone()
            self.responded |= values != self._first
        elif self._first is not None:
            differs = (values != self._first[rows]).to(torch.int64)
            self.responded |= torch.zeros_like(self.forwards).index_add_(0, rows, differs) > 0

    def _remember(self, images: Tensor, values: Tensor, rows: Tensor) -> None:
        """Keep each image's best candidate, the first of equal ones."""
        nowhere = len(values)
        peak = torch.full_like(self.best_values, -torch.inf).scatter_reduce(0, rows, values, "amax")
        places = torch.arange(nowhere, device=values.device)
        places = torch.where(values == peak[rows], places, nowhere)
        first = torch.full_like(self.forwards, nowhere).scatter_reduce(0, rows, places, "amin")
        # Most queries improve nothing, and copying whole images costs more than to ask which did.
        better = (peak > self.best_values).nonzero().flatten()
        # One by one takes a third of an indexed copy's time.
        for row, place in zip(better.tolist(), first[better].tolist(), strict=True):
            self.best[row] = images[place]
        self.best_values[better] = peak[better]

    def _factor(self, scores: Tensor) -> Tensor:
        """(N,) slope of the goal, which maps each score on its own."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_(True)
            (factor,) = torch.autograd.grad(self.goal.values(leaf, self.scorer.metric.spec).sum(), leaf)
        return factor


def _behind(encoder: Encoder, scorer: Scorer) -> Scorer:
    """The scorer, of images that have gone through the encoder."""
    return scorer if isinstance(encoder, Lossless) else replace(scorer, metric=EncodedMetric(scorer.metric, encoder))


def _earlier(rows: Tensor) -> Tensor:
    """How often each row appeared before its place, (M,) int64."""
    return (rows[:, None] == rows[None, :]).tril(-1).sum(dim=1)
