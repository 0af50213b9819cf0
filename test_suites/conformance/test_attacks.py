"""What every registered attack must satisfy; `--iqa-attack package.module:Class` looks at that attack instead.

The checks are those of `iqa-robustness qualify`; here they meet properties (hypothesis) and what the registry says.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness import attacks
from iqa_robustness.conformance.attack_subject import AttackSubject
from iqa_robustness.conformance.check import Check
from iqa_robustness.errors import ConfigurationError, WeightsError

MISSING = [name for name in attacks.registry.names() if not attacks.available(name)]


def test_it_keeps_the_promise_of(check: Check[Any], subject: AttackSubject, keep: Callable[..., None]) -> None:
    keep(check, subject, may_not_apply=False)


def test_the_class_declares_what_the_registry_says(registered: str) -> None:
    entry, kind = attacks.registry.resolve(registered), type(attacks.create(registered))
    assert kind.name == entry.name
    assert kind.access == entry.access
    assert entry.summary
    assert kind.__doc__
    assert "Source:" in kind.__doc__


def test_an_unknown_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        attacks.create(name, no_such_parameter=1)


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    pixels=hnp.arrays(np.uint8, (2, 3, 32, 34), elements=st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))),
    strength=st.sampled_from(attacks.STRENGTHS),
    paper=st.booleans(),
)
def test_whatever_the_picture_the_budget_is_kept(
    subject: AttackSubject, pixels: np.ndarray, strength: str, paper: bool
) -> None:
    attack = subject.frugal(strength, paper=paper)
    clean = torch.from_numpy(pixels.astype(np.float32)).to(subject.device) / 255
    result = attack(subject.reference_metric(), clean)
    assert not attack.budget.violations(result.images, clean).any()
    levels = np.rint(result.images.cpu().numpy().astype(np.float64) * 255)
    assert np.array_equal(levels.astype(np.float32) / np.float32(255), result.images.cpu().numpy())
    if not paper:
        assert (result.values >= result.clean_values).all()


@pytest.mark.parametrize("missing", MISSING)
def test_an_attack_without_its_weights_is_registered_and_says_what_it_needs(missing: str) -> None:
    entry = attacks.registry.resolve(missing)
    assert entry.weights
    assert "weights not included" in entry.summary
    # Some are networks of a package that is an extra; without it, that comes first.
    libraries = {"zhang-dists": "pyiqa", "zhang-lpips": "pyiqa"}
    if missing in libraries and find_spec(libraries[missing]) is None:
        with pytest.raises(ConfigurationError, match=rf"pip install 'iqa-robustness\[{libraries[missing]}\]'"):
            attacks.create(missing)
        return
    with pytest.raises(WeightsError) as raised:
        attacks.create(missing)
    assert raised.value.where.file
    assert raised.value.fix
