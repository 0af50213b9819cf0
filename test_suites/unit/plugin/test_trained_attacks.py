"""Attacks that are trained, in a gate: trained when they are asked for, once, and found again."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

# As in conftest: what an inner run would import a second time.
import torch._dynamo  # noqa: F401

import iqa_robustness.attacks.facpa
import iqa_robustness.attacks.uap  # noqa: F401
from iqa_robustness.attacks import checkpoint
from iqa_robustness.datasets import leaves
from iqa_robustness.errors import ExitCode

GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", defense="none", attack="uap,facpa")
def test_gate(pair, cell, gate):
    gate.check(cell, pair)
"""
MEDIUM = ("--iqa-strength=medium", "--iqa-device=cpu")


@pytest.fixture
def gated(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small repository with a gate of trained attacks, and few pictures to train them on."""
    monkeypatch.setattr(leaves, "PICTURES", 4)
    monkeypatch.setattr(leaves, "_SHAPES", 30)
    project.write("test_gate.py", GATE)
    return project


def trained(path: Path) -> list[str]:
    """The attack and the metric of every artefact in the store."""
    keys = [json.loads(file.read_text())["key"] for file in path.glob(".iqa-store/v1/entries/*/*/manifest.json")]
    return sorted(
        f"{key['attack']['class'].rpartition('.')[2]} {key['target']['metric']['name'].rpartition(':')[2]}"
        for key in keys
        if key["stage"] == "trained-attack"
    )


def test_a_vulnerable_metric_is_red_under_a_universal_perturbation(gated: Any) -> None:
    result = gated.run("--iqa-metric=own:Fragile", "--iqa-attack=uap", *MEDIUM)
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["*fail: nonadaptive:own:Fragile/none/uap/medium*", "*D_score*at most 20 is required*"])
    assert trained(gated.path) == ["UAP Fragile", "UAP Vulnerable"]


def test_a_robust_metric_passes_and_nothing_is_trained_twice(gated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = gated.run("--iqa-attack=uap", *MEDIUM)
    assert first.ret == ExitCode.PASS
    before, entries = gated.records(), gated.entries()
    for again in ((), ("--iqa-from-store",)):
        result = gated.run("--iqa-attack=uap", *MEDIUM, *again)
        assert result.ret == ExitCode.PASS
        result.stdout.fnmatch_lines(["0 computed in this run, 1 taken from the store"])
    assert gated.records() == before
    assert gated.entries() == entries


def test_a_full_disk_while_a_training_is_saved_is_infrastructure(gated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
        patch.setattr(checkpoint.os, "fsync", full)
        result = gated.run("--iqa-attack=uap", *MEDIUM)
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["StoreError: *unfinished training cannot be written: *No space left*", "*run again*"])
    assert trained(gated.path) == []


def test_judging_from_the_store_trains_nothing(gated: Any) -> None:
    result = gated.run("--iqa-attack=uap", *MEDIUM, "--iqa-from-store")
    assert result.ret == ExitCode.MISSING
    assert trained(gated.path) == []


def test_both_kinds_of_trained_attack_are_gated(gated: Any) -> None:
    result = gated.run("--iqa-metric=own:Fragile", *MEDIUM)
    result.assert_outcomes(failed=2)
    assert trained(gated.path) == ["FACPA Fragile", "FACPA Vulnerable", "UAP Fragile", "UAP Vulnerable"]
