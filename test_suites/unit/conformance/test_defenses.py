"""Defenses that break one promise each: the check that is about it says what is wrong and what to do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.conformance.check import Finding, Outcome
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.conformance.defenses import DEFENSE_CHECKS
from iqa_robustness.defenses.base import DefendedMetric, Purification
from iqa_robustness.defenses.certified.bounds import Certificates
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.images import quantize
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams

Tried = Callable[[str, type], dict[str, Finding]]
TriedBy = Callable[[str, str, type], Finding]


@dataclass(frozen=True, kw_only=True)
class Dim(Purification):
    """Keeps every promise: contrast reduced to a share."""

    name: ClassVar[str] = "dim"
    version: ClassVar[int] = 1
    varied_parameter: ClassVar[str] = "share"
    parameter_values: ClassVar[Sequence[Any]] = (0.7, 0.9)

    share: float = 0.8

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return 0.5 + self.share * (images - 0.5)


@dataclass(frozen=True, kw_only=True)
class Grain(Dim):
    """Keeps every promise: random, and cut to half the size."""

    stochastic: ClassVar[bool] = True
    keeps_geometry: ClassVar[bool] = False

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        if streams is None:
            raise ConfigurationError("grain draws noise and needs `streams`")
        smaller = F.avg_pool2d(super().purify(images), 2)
        return (smaller + 0.02 * streams.normal(*smaller.shape[1:])).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Levels(Dim):
    """Keeps every promise: 16 levels, no gradient, the identity for a surrogate."""

    differentiable: ClassVar[bool] = False

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return (images.detach() * 15).round() / 15


@pytest.mark.parametrize(
    ("kind", "absent"),
    [
        (Dim, {"surrogate", "certificates"}),
        (Grain, {"surrogate", "certificates"}),
        (Levels, {"finite differences", "certificates"}),
        (MedianSmoothing, {"contract", "between levels", "recognisable", "purified company", "surrogate"}),
    ],
)
def test_a_defense_that_keeps_every_promise_passes(kind: type, absent: set[str], tried: Tried) -> None:
    findings = tried("defense", kind)
    assert {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED} == set(), findings
    assert {name for name, finding in findings.items() if finding.outcome is Outcome.NOT_APPLICABLE} == absent


# --- defenses that break one ----------------------------------------------------------------------------------------


class NoVersion(Dim):
    version: ClassVar[Any] = 0


class NoKind(Dim):
    kind: ClassVar[Any] = "filter"


class NoFlag(Dim):
    stochastic: ClassVar[Any] = None


class VariesNothing(Dim):
    parameter_values: ClassVar[Sequence[Any]] = ()


class TwiceTheSame(Dim):
    parameter_values: ClassVar[Sequence[Any]] = (0.7, 0.7)


class NeverEqual(Dim):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True)
class RoundsItsParameter(Dim):
    def __post_init__(self) -> None:
        object.__setattr__(self, "share", round(self.share))


@dataclass(frozen=True, kw_only=True)
class Unwritable(Dim):
    parameter_values: ClassVar[Sequence[Any]] = (1j,)


class GivesItBack(Dim):
    def protect(self, metric: Metric) -> Any:
        return metric


class Rescales(Dim):
    def protect(self, metric: Metric) -> Any:
        guarded = super().protect(metric)
        guarded.spec = dataclasses.replace(guarded.spec, score_range=(0.0, 1.0))
        return guarded


class ChangesTheMetric(Dim):
    def protect(self, metric: Metric) -> Any:
        metric.signs.mul_(0.5)
        return super().protect(metric)


class Doubles(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return super().purify(images).double()


class Halves(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return F.avg_pool2d(super().purify(images), 2)


class Sharpens(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return 1.2 * images


class InPlace(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return images.mul_(0.9)


class OffGrid(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return images + 1000 * (images - quantize(images)).detach()


class Blacks(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return 0.1 * images


class Centred(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return (0.5 + 0.8 * (images - images.mean())).clamp(0, 1)


class GlobalNoise(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return (images + 0.02 * torch.randn_like(images)).clamp(0, 1)


class SaysItDraws(Dim):
    stochastic: ClassVar[bool] = True


class DrawsRegardless(Grain):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return super().purify(images, streams=streams or Streams("", [str(row) for row in range(len(images))]))


class MultiplesOfEight(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        height, width = images.shape[2:]
        blocks = images.view(-1, 3, height // 8, 8, width // 8, 8) if not height % 8 and not width % 8 else images
        return blocks.view(-1, 3, height, width) if height != 33 else F.interpolate(images, size=(2**20, 2**20))


class Cuts(Dim):
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return super().purify(images.detach()) + 0 * images


class Staircase(Dim):
    """Rounds, with the slope of the identity, and says that this is its gradient."""

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        return images + ((images * 4).round() / 4 - images).detach()


class OtherShape(Levels):
    def surrogate(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 2)


class Flat(Levels):
    def surrogate(self, images: Tensor) -> Tensor:
        return 0 * images


class Misleads(Levels):
    def surrogate(self, images: Tensor) -> Tensor:
        return 1 - images


class Crossed(MedianSmoothing):
    def certificates(self, draws: Tensor, **more: Any) -> Certificates:
        found = super().certificates(draws, **more)
        return dataclasses.replace(found, lower=found.upper, upper=found.lower)


class NegativeRadius(MedianSmoothing):
    def certificates(self, draws: Tensor, **more: Any) -> Certificates:
        found = super().certificates(draws, **more)
        return dataclasses.replace(found, radius=-found.radius)


class OfTheBatch(MedianSmoothing):
    def certificates(self, draws: Tensor, **more: Any) -> Certificates:
        found = super().certificates(draws, **more)
        return dataclasses.replace(found, upper=found.upper.max().expand(len(draws)))


class CertifiesNothing(Dim):
    kind: ClassVar[Any] = "certified"

    def protect(self, metric: Metric) -> Any:
        guarded = super().protect(metric)
        assert isinstance(guarded, DefendedMetric)
        return guarded


BROKEN = [
    (NoVersion, "declaration", "version is 0", "ClassVar[int] = 1"),
    (NoKind, "declaration", "kind is 'filter'", "none, purification, detection, certified, training"),
    (NoFlag, "declaration", "stochastic is None", "to True or False"),
    (VariesNothing, "declaration", r"varied_parameter is 'share' and parameter_values \(\)", "leave both empty"),
    (TwiceTheSame, "declaration", "two values of share make the same defense", "list each value once"),
    (NeverEqual, "configuration", "two that are made alike are not equal", "@dataclass(frozen=True"),
    (RoundsItsParameter, "configuration", r"{'share': 0.7} makes .*share=1\)", "keep parameters as they are given"),
    (Unwritable, "configuration", "a store key may hold JSON values only", "plain fields"),
    (GivesItBack, "defended metric", "protect returned a Vulnerable", "return a DefendedMetric"),
    (Rescales, "defended metric", "declares another range", "leave the spec to DefendedMetric"),
    (ChangesTheMetric, "defended metric", "protect changed the metric", "copy what has to change"),
    (Doubles, "contract", "purify returned torch.float64", "float32"),
    (Halves, "contract", r"made \(5, 3, 24, 32\) of \(5, 3, 48, 64\)", "keeps_geometry = False"),
    (Sharpens, "contract", "reach from 0 to 1.2", "clamp the result"),
    (InPlace, "contract", "changed its input in place", "work on a copy"),
    (OffGrid, "between levels", "purified values reach from -", "clamp the result"),
    (
        Blacks,
        "recognisable",
        r"correlation of 1\.00 with itself, and 0\.10 to 0\.10 of its contrast",
        "return the image in RGB",
    ),
    (Centred, "purified company", "in other company an image is purified into another one", "depend on another"),
    (GlobalNoise, "repeatable", "scores change with the order or the company", "draw from `streams`"),
    (SaysItDraws, "randomness", "stochastic=True, and the scores do not depend on", "declare stochastic = False"),
    (DrawsRegardless, "randomness", "without streams it scores all the same", "raise ConfigurationError"),
    (GlobalNoise, "randomness", "with equal streams the scores differ", "draw from `streams`"),
    (MultiplesOfEight, "sizes", "RuntimeError|Error", "any images of"),
    (Cuts, "gradient", "a photograph of 48 x 64 is zero or not finite", "differentiable = False"),
    (Staircase, "finite differences", "a small step changes the scores by", "name a `surrogate`"),
    (OtherShape, "surrogate", r"surrogate made \(2, 3, 24, 32\), the defense itself \(2, 3, 48, 64\)", "output shape"),
    (Flat, "surrogate", "the surrogate's gradient is zero", "the identity will do"),
    (Misleads, "adaptive attack", r"behind it by 0\.00% of the range", "name a `surrogate` that follows"),
    (Crossed, "certificates", "bounds and scores are out of order", "the same draws"),
    (NegativeRadius, "certificates", r"radii are \[-0.0", "a radius is not negative"),
    (OfTheBatch, "certificates", "the certificates' upper of an image change with its company", "draw from `streams`"),
    (CertifiesNothing, "certificates", "its metric has no `certify`", "return a SmoothedMetric"),
]


@pytest.mark.parametrize(("kind", "check", "what", "fix"), BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_promise_is_said_with_what_to_do(
    kind: type, check: str, what: str, fix: str, tried_by: TriedBy
) -> None:
    finding = tried_by(check, "defense", kind)
    assert finding.outcome is Outcome.FAILED
    assert re.search(what, finding.text), finding.text
    assert fix in finding.fix


def test_every_check_is_broken_by_somebody() -> None:
    assert {check for _, check, _, _ in BROKEN} == {check.name for check in DEFENSE_CHECKS}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Centred, {"purified company", "repeatable"}),
        (Cuts, {"gradient", "finite differences", "adaptive attack"}),
        (DrawsRegardless, {"randomness"}),
        (OffGrid, {"between levels", "finite differences", "adaptive attack"}),
    ],
)
def test_a_fault_fails_the_checks_that_it_concerns_and_no_others(kind: type, expected: set[str], tried: Tried) -> None:
    findings = tried("defense", kind)
    assert {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED} == expected, findings


# --- variants -------------------------------------------------------------------------------------------------------


def test_every_value_of_the_varied_parameter_is_looked_at() -> None:
    subject = DefenseSubject("jpeg")
    qualities = [defense.quality for defense in subject.every]  # type: ignore[attr-defined]
    assert qualities == [50, 50, 10, 30, 50, 70, 90]
    assert [defense.paper for defense in subject.every] == [False, True, False, False, False, False, False]


def test_an_option_fixes_a_parameter() -> None:
    subject = DefenseSubject("jpeg", options={"quality": 20})
    assert {defense.quality for defense in subject.every} == {20}  # type: ignore[attr-defined]
    assert DefenseSubject("ms", options={"n": 5}).made().n == 5  # type: ignore[attr-defined]
    assert DefenseSubject("ms").made().n == 24  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="parameter of defense jpeg"):
        DefenseSubject("jpeg", options={"speed": 3})
