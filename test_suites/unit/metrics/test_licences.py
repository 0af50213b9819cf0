"""The licence policy: what it leaves out, and that every registered metric says its licence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import metrics
from iqa_robustness.metrics.licences import POLICIES, permits_commercial_use, refusal


def test_every_registered_metric_states_its_licence() -> None:
    assert [entry.name for entry in metrics.list() if not entry.licence and ":" not in entry.target] == []
    assert all(entry.licence for entry in metrics.list() if entry.target.startswith("iqa_robustness."))


def test_the_bundled_metrics_may_be_used_commercially() -> None:
    assert all(permits_commercial_use(metrics.registry.resolve(name).licence) for name in ("compact", "lite0"))


@pytest.mark.parametrize(
    "licence",
    [
        "none stated",
        "research and education only",
        "PolyForm-Noncommercial-1.0.0",
        "CC-BY-NC-SA-4.0",
        "Apache-2.0 with a twist",
    ],
)
def test_what_is_not_known_to_permit_it_is_left_out_with_its_name(licence: str) -> None:
    reason = refusal(licence, "commercial")
    assert licence in reason
    assert "commercial" in reason


@given(st.text())
def test_the_policy_any_leaves_nothing_out(licence: str) -> None:
    assert refusal(licence, "any") == ""


@pytest.mark.parametrize("policy", POLICIES)
def test_a_users_own_metric_is_the_users_to_judge(policy: str) -> None:
    assert refusal(metrics.registry.resolve("own:Metric").licence, policy) == ""


def test_lives_releases_permit_any_purpose() -> None:
    """Their notice grants it with the notice kept and the release acknowledged."""
    assert refusal("LIVE", "commercial") == ""
