"""What every registered defense must satisfy, at its default and at each value of its varied parameter.

A defense whose weights are not part of the package takes part where its files are in `weights.folder()`.
`--iqa-defense package.module:Class` looks at that defense instead. The checks are those of `iqa-robustness qualify`;
here they meet properties (hypothesis) and what the registry says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness import defenses
from iqa_robustness.conformance.check import Check
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.certified.smoothing import SmoothedMetric
from iqa_robustness.errors import ConfigurationError

OF_PURIFICATIONS = {"contract", "between levels", "recognisable", "purified company"}


def may_not_apply(check: str, subject: DefenseSubject) -> bool:
    purifies = issubclass(subject.kind, Purification)
    return {
        "finite differences": not subject.made().differentiable,
        "surrogate": subject.made().differentiable or not purifies,
        "certificates": subject.kind.kind != "certified",
    }.get(check, check in OF_PURIFICATIONS and not purifies)


def test_it_keeps_the_promise_of(check: Check[Any], subject: DefenseSubject, keep: Callable[..., None]) -> None:
    keep(check, subject, may_not_apply=may_not_apply(check.name, subject))


def test_the_class_declares_what_the_registry_says(registered: str) -> None:
    entry, kind = defenses.registry.resolve(registered), type(defenses.create(registered))
    assert kind.name == entry.name
    assert kind.kind == entry.kind
    assert entry.summary
    assert kind.__doc__


def test_an_unknown_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        defenses.create(name, no_such_parameter=1)


def test_the_protocol_of_an_adaptive_attack_follows_from_the_declarations(subject: DefenseSubject, name: str) -> None:
    defense = subject.made()
    protocol = attack_protocol(defense, draws=4, white_box=True)
    assert ("eot-4" in protocol) is defense.stochastic
    assert ("bpda-" in protocol) is not defense.differentiable


def test_a_certified_metric_is_a_smoothed_one(registered: str) -> None:
    defense = defenses.create(registered)
    if defense.kind == "training" and not defenses.available(registered):
        pytest.skip("there are no weights of it here")
    guarded = defense.protect(DefenseSubject(registered).reference_metric())
    assert isinstance(guarded, SmoothedMetric) is (defense.kind == "certified")


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pixels=hnp.arrays(np.uint8, (2, 3, 17, 18), elements=st.integers(0, 255)),
    share=st.floats(0, 0.875, width=32),
)
def test_images_between_levels_are_purified_too(subject: DefenseSubject, pixels: np.ndarray, share: float) -> None:
    for defense in subject.every:
        if isinstance(defense, Purification):
            height, width = subject.enough(defense, 17, 18)
            tiled = np.pad(pixels, ((0, 0), (0, 0), (0, height - 17), (0, width - 18)), mode="wrap")
            images = ((torch.from_numpy(tiled.astype(np.float32)) + share) / 255).clamp(0, 1).to(subject.device)
            purified = defense.purify(images, streams=subject.streams("ab"))
            assert 0 <= float(purified.min()) <= float(purified.max()) <= 1
