"""What every registered metric must satisfy, and the planted vulnerable one too: the gates rest on it.

`--iqa-metric package.module:Class` looks at that metric instead. The checks are those of `iqa-robustness qualify`; here
they meet properties (hypothesis), more batches and sizes, and what the registry says.
A metric whose weights are not part of the package takes part where its file is in `weights.folder()`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness import attacks, metrics
from iqa_robustness.bench.pair import Subject
from iqa_robustness.conformance.check import Check
from iqa_robustness.conformance.metric_gradients import finite_differences, gradients
from iqa_robustness.conformance.metric_repeats import company
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.errors import CapabilityError, ImageContractError
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.store import Key

# It measures no quality.
PLANTED = "iqa_robustness.metrics.planted:Vulnerable"
# Defined on whole grey levels: a step of less than one changes nothing, whatever the gradient says.
ROUNDING = {"brisque", "cnniqa", "niqe"}
ODD = (65, 97)


def may_not_apply(check: str, subject: MetricSubject) -> bool:
    if check == "device":
        return not torch.cuda.is_available() or subject.metric.spec.stochastic
    if check == "finite differences" and (subject.reference in ROUNDING or subject.reference not in metrics.registry):
        return True
    if "gradient" in check or check == "finite differences":
        return subject.metric.spec.access == "query-only"
    return check == "offline load" and subject.reference.startswith("exec:")


def test_it_keeps_the_promise_of(
    check: Check[Any], name: str, subject: MetricSubject, keep: Callable[..., None]
) -> None:
    if check.name == "direction" and name == PLANTED:
        pytest.skip("it measures no quality, on purpose")
    keep(check, subject, may_not_apply=may_not_apply(check.name, subject))


# --- declarations ---------------------------------------------------------------------------------------------------


def test_the_spec_says_what_the_registry_says(registered: str) -> None:
    entry, spec = metrics.registry.resolve(registered), metrics.create(registered).spec
    assert spec.name == entry.name
    assert spec.licence == entry.licence
    assert spec.access == entry.access
    assert spec.licence
    assert entry.summary


def test_it_can_be_part_of_a_key(name: str, subject: MetricSubject) -> None:
    identified = Subject(name, device=subject.device)
    assert isinstance(identified.metric.spec, MetricSpec)
    assert identified.metric.spec.diam > 0
    assert json.loads(Key(identified.document).text) == identified.document


# --- scores ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pixels=hnp.arrays(np.uint8, (1, 3, 40, 44), elements=st.integers(0, 255)))
def test_whatever_the_picture_the_score_is_finite(subject: MetricSubject, pixels: np.ndarray) -> None:
    height, width = subject.enough(*pixels.shape[2:])
    repeated = np.pad(pixels, ((0, 0), (0, 0), (0, height - pixels.shape[2]), (0, width - pixels.shape[3])), "wrap")
    images = subject.to_device(torch.from_numpy(repeated.astype(np.float32)) / 255)
    assert torch.isfinite(subject.called(images)).all()


@pytest.mark.parametrize("spoil", [Tensor.double, Tensor.half, lambda images: (images * 255).to(torch.uint8)])
def test_another_dtype_is_refused_before_the_metric_sees_it(
    subject: MetricSubject, spoil: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    images = spoil(subject.pictures(1, (64, 64)))
    monkeypatch.setattr(subject.metric, "forward", seen.append)
    with pytest.raises(ImageContractError, match="float32") as caught:
        attacks.create("square", queries=2)(subject.metric, images)
    assert caught.value.where.metric == subject.metric.spec.name
    assert seen == []


# --- repeatability --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("micro_batch", "size"), [(1, (64, 64)), (8, (64, 64)), (1, ODD), (4, ODD), (8, ODD)], ids=str)
def test_in_padded_micro_batches_scores_and_gradients_are_bit_equal_in_any_company(
    subject: MetricSubject, micro_batch: int, size: tuple[int, int]
) -> None:
    company(subject, micro_batch=micro_batch, size=size, choices=((4, 2, 0, 1, 3), (3,), (1, 4)))


# --- gradients ------------------------------------------------------------------------------------------------------


def test_gradients_are_right_at_an_odd_size_or_refused_where_there_are_none(subject: MetricSubject) -> None:
    if subject.metric.spec.access == "query-only":
        with pytest.raises(CapabilityError):
            attacks.create("ifgsm")(subject.metric, subject.pictures(2, ODD))
        return
    gradients(subject, size=ODD)
    if subject.reference not in ROUNDING:
        finite_differences(subject, size=ODD)
