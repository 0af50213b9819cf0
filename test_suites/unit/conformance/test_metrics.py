"""Metrics that break one promise each: the check that is about it says what is wrong and what to do."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.conformance.check import Finding, Outcome
from iqa_robustness.conformance.metrics import METRIC_CHECKS
from iqa_robustness.errors import ImageContractError
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.metrics.planted import Robust, Vulnerable
from iqa_robustness.metrics.ranges import RangeEntry, Ranges
from iqa_robustness.streams import Streams

SPEC = Robust.spec


Tried = Callable[[str, type], dict[str, Finding]]
TriedBy = Callable[[str, str, type], Finding]


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED}


class Sound(Robust):
    """Keeps every promise."""


class FetchesAtOnce(Robust):
    def __init__(self) -> None:
        super().__init__()
        torch.hub.load_state_dict_from_url("https://weights.invalid/net.pth")


class LocalEntryNotFoundError(Exception):
    """Named as Hugging Face's."""


class FetchesFromTheHub(Robust):
    def __init__(self) -> None:
        super().__init__()
        raise LocalEntryNotFoundError("cannot find the file, and outgoing traffic is disabled\nmore")


class FetchesLater(Robust):
    def forward(self, images: Tensor) -> Tensor:
        urllib.request.urlopen("https://weights.invalid/late.pth")
        return super().forward(images)


class Unloaded(Robust):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.head.weight[0, 0]


class Nameless(Robust):
    spec = replace(SPEC, version="")


class WrongDigest(Robust):
    spec = replace(SPEC, weights=(WeightsFile(name="net.pth", sha256="ABC"),))


class StaysInTraining(Robust):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Dropout()

    def eval(self) -> StaysInTraining:
        return self


class Thaws(Unloaded):
    def requires_grad_(self, requires_grad: bool = True) -> Thaws:
        return self


class TakesNoStreams(Robust):
    spec = replace(SPEC, stochastic=True)


class Averages(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean()


class Doubles(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).double()


class ChangesItsInput(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(0.9) if not images.requires_grad else images)


class OddNaN(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / (images.shape[-1] != 97)


class Same(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return 0 * super().forward(images) + 30


class CrashesWhenSmall(Robust):
    def forward(self, images: Tensor) -> Tensor:
        nn.functional.avg_pool2d(images, 20)
        return super().forward(images)


class RefusesWithoutAName(Robust):
    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[2:]) < 20:
            raise ImageContractError("too small")
        return super().forward(images)


class NaNWhenSmall(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + (torch.nan if min(images.shape[2:]) == 1 else 0)


class NaNOnFlat(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0 / (images.flatten(1).std(dim=1) if images.shape[-1] > 1 else 1)


class PerCent(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 100


class Clipped(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).clamp(max=40) + 0 * images.mean(dim=(1, 2, 3))


class MuchTooWide(Robust):
    spec = replace(SPEC, score_range=(0.0, 6000.0))


class Reversed(Robust):
    spec = replace(SPEC, higher_is_better=False)


class NoQuality(Vulnerable):
    pass


class Restless(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(len(images))


class DrawsElsewhere(Robust):
    spec = replace(SPEC, stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + torch.rand(len(images))


class DrawsNothing(Robust):
    spec = replace(SPEC, stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images)


class Relative(Robust):
    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        return scores - 0.5 * scores.mean() + 15


class ByPlace(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1e-4 * torch.arange(len(images))


class Detached(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach()) + 0 * images.mean(dim=(1, 2, 3))


class TwoMinds(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.1 * images.requires_grad


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return scores.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope


class WrongSlope(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return Twice.apply(super().forward(images))


class RootOfZero(Robust):
    def forward(self, images: Tensor) -> Tensor:
        luma = images.mean(dim=1)
        return 200 * luma.var(dim=(1, 2), correction=0).sqrt()


BROKEN = [
    (
        FetchesAtOnce,
        "offline load",
        "constructor asks for the network: https://weights.invalid/net.pth",
        "weights=PATH",
    ),
    (FetchesFromTheHub, "offline load", "the constructor asks for the network: cannot find the file", "weights=PATH"),
    (
        FetchesLater,
        "offline score",
        "the first score asks for the network: https://weights.invalid/late",
        "before a run",
    ),
    (Unloaded, "reload", "made twice, it gives one picture the scores", "load every parameter from a file"),
    (Nameless, "declaration", "leaves its name, version or input_policy empty", "give a version"),
    (WrongDigest, "declaration", "'net.pth' has the digest 'ABC'", "64 lower-case hex digits"),
    (StaysInTraining, "declaration", "in training mode after eval()", "nn.ModuleList"),
    (Thaws, "declaration", "a parameter requires gradients", "do not override requires_grad_"),
    (TakesNoStreams, "declaration", "says stochastic, and forward takes no `streams`", "set stochastic=False"),
    (Averages, "sizes", r"forward returned \(\) for 2 images of 64 x 64", "do not average over the batch"),
    (Doubles, "sizes", "are torch.float64 on cpu; torch.float32 on cpu is expected", "torch.float32"),
    (ChangesItsInput, "sizes", "changed its input of 64 x 64 in place", "work on a copy"),
    (OddNaN, "sizes", r"a photograph of 65 x 97 gets \[inf, inf\]", "division by zero"),
    (Same, "sizes", "two different photographs of 64 x 64 get the same score 30", "reads its input"),
    (CrashesWhenSmall, "size policy", "1 x 1 ends in RuntimeError", "`refuse_smaller` of iqa_robustness.metrics"),
    (RefusesWithoutAName, "size policy", "refused without the metric's name", "refuse_smaller"),
    (NaNWhenSmall, "size policy", r"a picture of 1 x 1 gets \[nan\]", "refuse_smaller"),
    (NaNOnFlat, "extremes", "a black, white, grey or noise picture gets .nan", "a flat picture has no variance"),
    (PerCent, "range", "outside the declared range: .* of the declared 0 to 60", "iqa-robustness calibrate"),
    (
        Clipped,
        "range",
        r"8 different pictures have \d scores between them .*to 40 of",
        "clamped to its range or rounded",
    ),
    (MuchTooWide, "range", r"use 0\.\d% of the declared range", "iqa-robustness calibrate"),
    (Reversed, "direction", "for 1 of 4 scenes, by -.*% of the range", "reversed: set higher_is_better=True"),
    (NoQuality, "direction", "beat their heavily distorted versions for 3 of 4 scenes, by -", "not BGR"),
    (Restless, "determinism", "the same pictures get other scores the second time", "sets stochastic=True"),
    (DrawsElsewhere, "determinism", "the same pictures get other scores", "draw from `streams` alone"),
    (DrawsNothing, "determinism", "the scores do not depend on the streams", "set stochastic=False"),
    (Relative, "batch", r"changes with the other images of its batch, by 0\.\d+ of the range", "per-image ones"),
    (ByPlace, "company", "an image's score changes with its place or its companions", "compute each row alone"),
    (Detached, "gradient", "gradient of a photograph's score is zero everywhere", 'declares access="query-only"'),
    (TwoMinds, "gradient", "with gradients the score is another than without", "whether or not the input requires"),
    (WrongSlope, "finite differences", "changes the score by 0.500, 0.500 times what the gradient", "wrong `backward`"),
    (RootOfZero, "extreme gradients", "black, white, grey or noise picture is not finite", "inside the root"),
]


@pytest.mark.parametrize(("kind", "check", "what", "fix"), BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_promise_is_said_with_what_to_do(
    kind: type[Metric], check: str, what: str, fix: str, tried_by: TriedBy
) -> None:
    finding = tried_by(check, "metric", kind)
    assert finding.outcome is Outcome.FAILED
    assert re.search(what, finding.text)
    assert fix in finding.fix


def test_every_check_is_broken_by_somebody() -> None:
    assert {check for _, check, _, _ in BROKEN} == {check.name for check in METRIC_CHECKS} - {"device"}


@pytest.mark.parametrize("kind", [Reversed, Relative, Detached, MuchTooWide])
def test_a_fault_fails_the_checks_that_it_concerns_and_no_others(kind: type[Metric], tried: Tried) -> None:
    expected = {
        Reversed: {"direction"},
        Relative: {"batch", "company", "direction"},
        Detached: {"gradient", "finite differences"},
        MuchTooWide: {"range", "direction"},
    }
    assert failed(tried("metric", kind)) == expected[kind]


def test_a_range_much_wider_than_the_calibrated_one_is_refused(monkeypatch: pytest.MonkeyPatch, tried: Tried) -> None:
    name = f"{__name__}:Sound"
    entry = RangeEntry(
        metric=name, kind="calibrated", low=0, high=20, version="1", source="here", images=20, quantiles=(0.01, 0.99)
    )
    monkeypatch.setattr(Ranges, "bundled", lambda: Ranges(entries={(name, "calibrated"): entry}))
    finding = tried("metric", Sound)["range"]
    assert finding.outcome is Outcome.FAILED
    assert "calibrat" in finding.text + finding.fix
