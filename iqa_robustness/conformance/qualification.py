"""Qualify a metric, an attack or a defense: every check of its kind, tried on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iqa_robustness.conformance.attack_subject import AttackSubject
from iqa_robustness.conformance.attacks import ATTACK_CHECKS
from iqa_robustness.conformance.check import Check, Finding, examined
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.conformance.defenses import DEFENSE_CHECKS
from iqa_robustness.conformance.metric_subject import MetricSubject
from iqa_robustness.conformance.metrics import METRIC_CHECKS
from iqa_robustness.errors import ConformanceError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is checked of one kind of component, and how one of them is made for it."""

    subject: type[MetricSubject] | type[AttackSubject] | type[DefenseSubject]
    checks: tuple[Check[Any], ...]


KINDS: Mapping[str, Kind] = {
    "metric": Kind(subject=MetricSubject, checks=METRIC_CHECKS),
    "attack": Kind(subject=AttackSubject, checks=ATTACK_CHECKS),
    "defense": Kind(subject=DefenseSubject, checks=DEFENSE_CHECKS),
}


def qualified(
    kind: str, reference: str, *, device: str = "cpu", options: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """One finding a check, in their order, each as soon as it is there.

    Bits are compared: set one CPU thread first (`torch.set_num_threads(1)`), as a cell does.
    Cost: see `metrics`, `attacks` and `defenses` of this package.

    Args:
        kind: `metric`, `attack` or `defense`.
        reference: a registered name, `package.module:Class`, or what else `create` of that kind takes.
        device: torch device.
        options: of the metric's constructor, or fields of the attack or defense.

    Raises:
        UnknownNameError, ConfigurationError, WeightsError and others: there is nothing to check, since it cannot be
            made; before the first finding. A constructor that asks for the network is a finding.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of component", kind, KINDS)
    subject = KINDS[kind].subject(reference, device=device, options=options)
    if isinstance(subject, MetricSubject):
        with contextlib.suppress(ConformanceError):  # the first check says so
            _ = subject.metric
    return examined(KINDS[kind].checks, subject)
