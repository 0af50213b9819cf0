"""Attacks that break one promise each: the check that is about it says what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.attacks.objectives import BudgetExhausted, Objective
from iqa_robustness.attacks.projections import Linf
from iqa_robustness.conformance.attack_subject import AttackSubject
from iqa_robustness.conformance.attacks import ATTACK_CHECKS
from iqa_robustness.conformance.check import Finding, Outcome
from iqa_robustness.errors import ConfigurationError, NonFiniteScoreError, UnknownNameError
from iqa_robustness.images import quantize
from iqa_robustness.streams import Streams

Tried = Callable[[str, type], dict[str, Finding]]
TriedBy = Callable[[str, str, type], Finding]


@dataclass(frozen=True, kw_only=True)
class Sound(IFGSM):
    """Keeps every promise: signs of gradients, a little noise first."""

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        start = self.budget.project(images + 0.1 / 255 * streams.signs(*images.shape[1:]), images)
        return super().run(objective, start, streams)


@dataclass(frozen=True, kw_only=True)
class SoundQueries(IFGSM):
    """Keeps every promise, with score queries only: one block after the other, up or down."""

    access: ClassVar[Any] = "black-box"
    queries: int = 60

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        best, values = images, objective.query_clean()
        height, width = images.shape[2:]
        for query in range(1, self.queries):
            rows = objective.unfinished()
            block, sign = divmod(query - 1, 2)
            row, column = divmod(block % 48, 8)
            change = torch.zeros_like(images)
            top, left = row * height // 6, column * width // 8
            change[:, block % 3, top : top + height // 6, left : left + width // 8] = 1 - 2 * sign
            candidates = self.budget.project(best + self.budget.epsilon * change, images)
            found = torch.full_like(values, -torch.inf)
            found[rows] = objective.values(candidates[rows], rows)
            better = found > values
            best = torch.where(better[:, None, None, None], candidates, best)
            values = torch.where(better, found, values)
        return best


@pytest.mark.parametrize("kind", [Sound, SoundQueries])
def test_an_attack_that_keeps_every_promise_passes(kind: type, tried: Tried) -> None:
    findings = tried("attack", kind)
    assert {finding.outcome for finding in findings.values()} == {Outcome.OK}, findings
    assert findings["counters"].text.startswith("12 forwards" if kind is Sound else "60 forwards and 0 backwards")


# --- attacks that break one -----------------------------------------------------------------------------------------


class NoVersion(IFGSM):
    version: ClassVar[Any] = None


class NoAccess(IFGSM):
    access: ClassVar[Any] = "grey-box"


class NoName(IFGSM):
    name: ClassVar[str] = ""


class TwoStrengths(IFGSM):
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {"weak": {"alpha": 0.1}, "strong": {"alpha": 0.2}}


class VariesNothing(IFGSM):
    varied_parameter: ClassVar[str] = "beta"


class SetsMore(IFGSM):
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        strength: {**values, "beta": 1} for strength, values in IFGSM.strengths.items()
    }


class Undecorated(IFGSM):
    momentum: float = 0.9


class NeverEqual(IFGSM):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Secretive(IFGSM):
    def __repr__(self) -> str:
        return "Secretive()"


class AllTheSame(IFGSM):
    strengths: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        strength: {"alpha": 1 / 255} for strength in IFGSM.strengths
    }


class OtherBudget(IFGSM):
    restriction: ClassVar[str] = "l2"


class SameBudget(IFGSM):
    @property
    def budget(self) -> Linf:
        return Linf(epsilon=4 / 255)


class Loose(Linf):
    """Admits twice as much as it says."""

    def admit(self, images: Tensor, clean: Tensor) -> Tensor:
        return quantize(torch.clamp(images, clean - 2 * self.epsilon, clean + 2 * self.epsilon))


class Leaves(IFGSM):
    @property
    def budget(self) -> Linf:
        return Loose(epsilon=10 * self.alpha)

    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        _, gradients = objective.values_and_gradients(images)
        return images + 20 * self.alpha * gradients.sign()


class Blind(Loose):
    """And does not see it."""

    def size(self, images: Tensor, clean: Tensor) -> Tensor:
        return torch.zeros(len(images))


class LeavesUnseen(Leaves):
    @property
    def budget(self) -> Linf:
        return Blind(epsilon=10 * self.alpha)


class ChangesClean(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        objective.clean.copy_(quantize(objective.clean + 1 / 255))
        return super().run(objective, images, streams)


class Boasts(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        last = super().run(objective, images, streams)
        objective.values(last)
        objective.best_values += 0.01
        return last


class Descends(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        current = images
        for _ in range(self.steps):
            _, gradients = objective.values_and_gradients(current)
            current = self.budget.project(current - self.alpha * gradients.sign(), images)
        return current


class AsksNothing(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        return images


class OneStepOfOneLevel(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        _, gradients = objective.values_and_gradients(images)
        return images + 1 / 255 * gradients.sign()


class GlobalNoise(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        start = self.budget.project(images + self.alpha * torch.randn_like(images), images)
        return super().run(objective, start, streams)


class SharedStep(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        _, gradients = objective.values_and_gradients(images)
        share = images.mean() * torch.linspace(1, 0.5, len(images)).view(-1, 1, 1, 1)
        return self.budget.project(images + 20 * self.alpha * share * gradients.sign(), images)


class TheFirstTwo(IFGSM):
    def entrants(self, streams: Streams) -> Tensor:
        return torch.arange(len(streams)) < 2


class GoesAround(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        last = super().run(objective, images, streams)
        objective.scorer.scores(last, streams=objective.streams)
        return last


class SecretGradients(IFGSM):
    access: ClassVar[Any] = "black-box"


class Insatiable(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        try:
            return super().run(objective, images, streams)
        except BudgetExhausted:
            for _ in range(20):
                objective.scorer.scores(images, streams=objective.streams)
            return images


class OneSize(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        mask = torch.ones(3, 48, 64)
        return super().run(objective, images, streams) if images.shape[2] == 64 else images + 0 * mask


class DividesBySpread(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        start = images + 0 / images.flatten(1).std(dim=1)[:, None, None, None]
        return super().run(objective, start, streams)


class NeedsOne(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        images.max()
        return super().run(objective, images, streams)


class HidesNaN(IFGSM):
    def run(self, objective: Objective, images: Tensor, streams: Streams) -> Tensor:
        try:
            return super().run(objective, images, streams)
        except NonFiniteScoreError:
            return images


BROKEN = [
    (NoVersion, "declaration", "version is None", "ClassVar[int] = 1"),
    (NoAccess, "declaration", "access is 'grey-box'", "white-box, black-box"),
    (NoName, "declaration", "declares no name", "name: ClassVar[str]"),
    (TwoStrengths, "declaration", "the strengths are weak, strong", "'medium'"),
    (VariesNothing, "declaration", "varied_parameter is 'beta', which is no field", "@dataclass(frozen=True"),
    (SetsMore, "declaration", "the strengths set beta, which the attack does not have", "fields of the dataclass"),
    (Undecorated, "declaration", "momentum looks like a parameter, and is none", "@dataclass(frozen=True"),
    (NeverEqual, "configuration", "two that are made alike are not equal", "@dataclass(frozen=True"),
    (Secretive, "configuration", r"do not show all of their parameters: Secretive\(\)", "override none"),
    (AllTheSame, "configuration", "two strengths are the same attack", "another value of the varied parameter"),
    (OtherBudget, "declared budget", "the budget is Linf.*, the declared restriction 'l2'", "return a Budget"),
    (SameBudget, "declared budget", "are 0.01569, 0.01569, 0.01569", "a budget that grows"),
    (Leaves, "budget", "the attack left its budget: 0.0156.* after 8-bit rounding, 0.0078", "`admit` must map"),
    (LeavesUnseen, "budget", "an image is outside the budget after rounding", "clamp by whole levels after rounding"),
    (ChangesClean, "budget", "the clean images of the result are not those", "never change `images`"),
    (Boasts, "values", "the values are .*, the metric says", "ask the objective about images"),
    (Descends, "gain", "by 0.00% of its range .*; more than 1% is expected", "maximise the objective"),
    (AsksNothing, "gain", "no query changed the score, or no usable gradient", "ask about changed images"),
    (
        OneStepOfOneLevel,
        "stronger",
        r"strong gain 12\.\d+%, 12\.\d+%, 12\.\d+%",
        "order the strengths",
    ),
    (GlobalNoise, "repeatable", "attacked a second time has other images", "draw from `streams` alone"),
    (SharedStep, "company", "in another place or other company has other images", "depend on another image"),
    (TheFirstTwo, "entrants", "whether an image is attacked depends on its companions", "draw from `streams` alone"),
    (GoesAround, "counters", "counts 33 forwards and 30 backwards, the metric saw 36", "through the objective alone"),
    (SecretGradients, "counters", "declared black-box, and takes 30 gradients", 'access = "white-box"'),
    (Insatiable, "limits", r"with max_forwards=8 the metric scores an image 2\d times", "let BudgetExhausted pass"),
    (OneSize, "sizes", "RuntimeError: The size of tensor", "any images of"),
    (DividesBySpread, "extremes", "asked about an image that holds NaN", "zero norm"),
    (NeedsOne, "no images", "RuntimeError: max", "any images of"),
    (SecretGradients, "queries only", "takes 10 gradients", "`objective.values` alone"),
    (HidesNaN, "NaN", "is not noticed", "let its errors pass"),
]


@pytest.mark.parametrize(("kind", "check", "what", "fix"), BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_promise_is_said_with_what_to_do(
    kind: type, check: str, what: str, fix: str, tried_by: TriedBy
) -> None:
    finding = tried_by(check, "attack", kind)
    assert finding.outcome is Outcome.FAILED
    assert re.search(what, finding.text), finding.text
    assert fix in finding.fix


def test_every_check_is_broken_by_somebody() -> None:
    assert {check for _, check, _, _ in BROKEN} == {check.name for check in ATTACK_CHECKS}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (GoesAround, {"counters"}),
        (OneStepOfOneLevel, {"stronger"}),
        (SharedStep, {"company"}),
        (HidesNaN, {"NaN"}),
    ],
)
def test_a_fault_fails_the_checks_that_it_concerns_and_no_others(kind: type, expected: set[str], tried: Tried) -> None:
    findings = tried("attack", kind)
    assert {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED} == expected, findings


# --- options --------------------------------------------------------------------------------------------------------


def test_options_are_the_attacks_own_parameters() -> None:
    assert AttackSubject("ifgsm", options={"steps": 3}).made("weak").steps == 3  # type: ignore[attr-defined]
    assert AttackSubject("square", options={"queries": 7}).made().queries == 7  # type: ignore[attr-defined]
    assert AttackSubject("square").made().queries == 60  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="parameter of attack ifgsm"):
        AttackSubject("ifgsm", options={"speed": 3})


def test_an_option_that_the_strengths_set_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="alpha is what the strengths of 'ifgsm' set") as caught:
        AttackSubject("ifgsm", options={"alpha": 1 / 255})
    assert "leave it out" in caught.value.fix


def test_a_run_is_done_once() -> None:
    subject = AttackSubject("ifgsm")
    assert subject.run("weak") is subject.run("weak")
    assert len(subject.runs) == 6
    assert subject.runs[0] is subject.run("weak")
