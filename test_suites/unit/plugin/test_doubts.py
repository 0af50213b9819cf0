"""Cells that passed under an attack which a weaker adversary beats: invalid at the end of the run, everywhere."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pandas as pd
import pytest

ATTACKS = '''
"""A gradient attack that forgets how to climb when it is given more budget."""
from dataclasses import dataclass
from typing import ClassVar
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.projections import Linf

@dataclass(frozen=True, kw_only=True)
class Backwards(Attack):
    """Source: none."""
    name: ClassVar[str] = "backwards"
    version: ClassVar[int] = 1
    access: ClassVar[str] = "white-box"
    restriction: ClassVar[str] = "linf"
    varied_parameter: ClassVar[str] = "epsilon"
    strengths: ClassVar[dict] = {
        "weak": {"epsilon": 2 / 255}, "medium": {"epsilon": 4 / 255}, "strong": {"epsilon": 8 / 255, "share": 0.02},
    }
    epsilon: float = 4 / 255
    share: float = 1.0

    @property
    def budget(self):
        return Linf(epsilon=self.epsilon)

    def run(self, objective, images, streams):
        current = images
        for _ in range(3):
            _, gradients = objective.values_and_gradients(current)
            near = gradients.abs() >= gradients.abs().flatten(1).quantile(1 - self.share, dim=1)[:, None, None, None]
            current = self.budget.project(current + self.epsilon / 2 * gradients.sign() * near, images)
        return current
'''

GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive", defense=["none", "flip"], attack=ATTACK)
def test_gate(pair, cell, gate):
    gate.check(cell, pair)
"""
ATTACK = "own_attacks:Backwards"


@pytest.fixture
def suspect(project: Any) -> Any:
    project.write("own_attacks.py", ATTACKS)
    project.write("test_gate.py", GATE.replace("ATTACK", repr(ATTACK)))
    project.write("thresholds.yaml", "version: 1\ndefaults:\n  nonadaptive: {d_score: {max: 99}}\nrules: []\n")
    return project


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_pass_under_a_suspect_attack_becomes_invalid(suspect: Any, workers: str) -> None:
    result = suspect.run("-n", workers, "--iqa-metric", "own:Fragile", "--junitxml", "junit.xml")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*invalid: nonadaptive:own:Fragile/flip/own_attacks:Backwards/strong*"])
    result.stdout.fnmatch_lines(["*the same attack at * gains * more than own_attacks:Backwards at strong*"])
    result.stdout.fnmatch_lines(["*6 passed*2 errors*"])
    table = pd.read_parquet(suspect.path / "reports" / "results.parquet").set_index(["defense", "strength"])
    assert table["status"].to_dict() == {
        (defense, strength): "invalid" if strength == "strong" else "pass"
        for defense in ("none", "flip")
        for strength in ("weak", "medium", "strong")
    }
    suite = ElementTree.parse(suspect.path / "junit.xml").getroot()
    assert len(suite.findall(".//error")) == 2


def test_a_failure_stays_a_failure(suspect: Any) -> None:
    suspect.write("thresholds.yaml", "version: 1\ndefaults:\n  nonadaptive: {d_score: {max: 1}}\nrules: []\n")
    result = suspect.run("--iqa-metric", "own:Fragile", "--iqa-defense", "none")
    assert result.ret == 1
    result.assert_outcomes(failed=3)


def test_attacks_in_order_raise_no_alarm(suspect: Any) -> None:
    suspect.write("test_gate.py", GATE.replace("ATTACK", '"ifgsm"'))
    result = suspect.run("--iqa-metric", "own:Contrast", "--iqa-defense", "none")
    assert result.ret == 0
    result.assert_outcomes(passed=3)


def test_judging_again_from_the_store_comes_to_the_same(suspect: Any) -> None:
    suspect.run("--iqa-metric", "own:Fragile")
    result = suspect.run("--iqa-metric", "own:Fragile", "--iqa-from-store")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*6 passed*2 errors*"])


def test_alone_the_suspect_cannot_be_told(suspect: Any) -> None:
    result = suspect.run("--iqa-metric", "own:Fragile", "--iqa-strength", "strong")
    assert result.ret == 0


def test_the_summary_says_so(suspect: Any) -> None:
    suspect.run("--iqa-metric", "own:Fragile")
    summary = (suspect.path / "reports" / "summary.md").read_text(encoding="utf-8")
    assert "invalid" in summary
