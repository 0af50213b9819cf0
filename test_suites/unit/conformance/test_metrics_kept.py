"""Metrics that keep every promise, in every way a metric may be; what was found, what it cost, what cannot be made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iqa_robustness.conformance import metric_repeats
from iqa_robustness.conformance.check import Finding, Outcome, examined
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.conformance.metrics import METRIC_CHECKS
from iqa_robustness.errors import ConfigurationError, UnknownNameError, WeightsError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.planted import Robust
from iqa_robustness.metrics.preparation import refuse_smaller
from iqa_robustness.streams import Streams

SPEC = Robust.spec


Tried = Callable[[str, type], dict[str, Finding]]


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.outcome is Outcome.FAILED}


# --- metrics that keep every promise --------------------------------------------------------------------------------


class Lower(Robust):
    """Lower is better."""

    spec = replace(SPEC, score_range=(-60.0, 0.0), higher_is_better=False)

    def forward(self, images: Tensor) -> Tensor:
        return -super().forward(images)


class Draws(Robust):
    """Random, as it says."""

    spec = replace(SPEC, stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + 0.1 * streams.normal()


class Queried(Robust):
    """NumPy: no gradient, as it says."""

    spec = replace(SPEC, access="query-only")

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(super().forward(images.detach()).cpu().numpy()).to(images.device)


class Demanding(Robust):
    """Takes pictures from 200 × 200 only, and says so."""

    def forward(self, images: Tensor) -> Tensor:
        refuse_smaller(images, self.spec.name, 200)
        return super().forward(images)


class Rounding(Robust):
    """Defined on whole levels, with the slope of the identity."""

    def forward(self, images: Tensor) -> Tensor:
        levels = images + ((images * 255).round() / 255 - images).detach()
        return super().forward(levels)


@pytest.mark.parametrize(
    ("kind", "absent"),
    [
        (Robust, set()),
        (Lower, set()),
        (Draws, set()),
        (Queried, {"gradient", "finite differences", "extreme gradients"}),
        (Demanding, set()),
        (Rounding, {"finite differences"}),
    ],
)
def test_a_metric_that_keeps_every_promise_passes(kind: type[Metric], absent: set[str], tried: Tried) -> None:
    findings = tried("metric", kind)
    assert failed(findings) == set(), findings
    left_out = {name for name, finding in findings.items() if finding.outcome is Outcome.NOT_APPLICABLE}
    assert left_out - {"device"} == absent


def test_what_was_found_is_said(tried: Tried) -> None:
    findings = tried("metric", Demanding)
    assert findings["offline score"].text == "from 224 x 224 pixels"
    assert findings["size policy"].text == "refuses 1 x 1, 7 x 9, 16 x 16, 31 x 200"
    assert re.fullmatch(r"[\d.]+ to [\d.]+ of the declared 0 to 60", findings["range"].text)
    assert findings["direction"].text.startswith("4 of 4 scenes")


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_without_a_second_device_nothing_is_said_about_it(tried: Tried) -> None:
    finding = tried("metric", Lower)["device"]
    assert (finding.outcome, finding.text) == (Outcome.NOT_APPLICABLE, "no CUDA device")


class Moved(Robust):
    """Gives other scores after its second move, as if a constant had stayed behind."""

    moves = 0

    def to(self, device: str) -> Moved:  # type: ignore[override]
        self.moves += 1
        return self

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + (self.moves == 2)


@pytest.mark.parametrize(("kind", "outcome"), [(Lower, Outcome.OK), (Moved, Outcome.FAILED)])
def test_another_device_is_compared_and_the_metric_comes_back(
    kind: type[Metric], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(metric_repeats, "_other", lambda name: name)
    subject = MetricSubject(f"{__name__}:{kind.__name__}")
    (finding,) = examined([check for check in METRIC_CHECKS if check.name == "device"], subject)
    assert finding.outcome is outcome
    if isinstance(subject.metric, Moved):
        assert subject.metric.moves == 3  # made, moved, moved back
        assert "scores differ between cpu and cpu by 0.017 of the range" in finding.text
        assert "register constants as buffers" in finding.fix


class OtherOnCuda(Robust):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + images.is_cuda


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_devices_are_compared(device: str) -> None:
    check = [check for check in METRIC_CHECKS if check.name == "device"]
    for kind, outcome in ((Lower, Outcome.OK), (OtherOnCuda, Outcome.FAILED)):
        subject = MetricSubject(f"{__name__}:{kind.__name__}", device=device)
        (finding,) = examined(check, subject)
        assert finding.outcome is outcome
    assert "by 0.017 of the range" in finding.text


# --- what cannot be made --------------------------------------------------------------------------------------------


class NeedsAFile(Robust):
    def __init__(self, weights: str) -> None:
        super().__init__()
        with open(weights) as file:  # noqa: PTH123
            file.read()


def test_what_cannot_be_made_is_an_error_and_no_finding() -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'compct'"):
        _ = MetricSubject("compct").metric
    with pytest.raises(WeightsError):
        _ = MetricSubject("koncept", options={"weights": "no such file"}).metric


def test_a_constructor_that_fails_is_a_configuration_error_that_names_the_option() -> None:
    with pytest.raises(ConfigurationError, match="cannot be constructed: FileNotFoundError") as caught:
        _ = MetricSubject(f"{__name__}:NeedsAFile", options={"weights": "/nowhere"}).metric
    assert "--option NAME=VALUE" in caught.value.fix
    assert caught.value.where.metric.endswith(":NeedsAFile")


# --- cost -----------------------------------------------------------------------------------------------------------


class Meter(Robust):
    """Counts rows, those that fill a batch included: they cost as much."""

    forwards = backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        Meter.forwards += len(images)
        Meter.backwards += len(images) if images.requires_grad else 0
        return super().forward(images)


class QueriedMeter(Meter):
    spec = replace(SPEC, access="query-only")


def test_it_costs_what_it_says(tried: Tried) -> None:
    Meter.forwards = Meter.backwards = 0
    assert failed(tried("metric", Meter)) == set()
    assert 100 < Meter.forwards <= 125
    assert Meter.backwards <= 32
    white_box, Meter.forwards = Meter.forwards, 0
    tried("metric", QueriedMeter)
    assert Meter.forwards <= 0.7 * white_box
