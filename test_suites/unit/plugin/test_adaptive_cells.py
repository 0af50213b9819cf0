"""Adaptive cells in a run: protocols by option, their names in every report, and the label of who lacks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from iqa_robustness.errors import ExitCode

GATE = """
import pytest

@pytest.mark.iqa_cells(scenario="nonadaptive")
def test_nonadaptive(pair, cell, gate):
    gate.verdict(cell, pair)

@pytest.mark.iqa_cells(scenario="adaptive")
def test_adaptive(pair, cell, gate):
    gate.verdict(cell, pair)
"""
SELECTED = (
    "--iqa-defense=random-noise",
    "--iqa-attack=ifgsm",
    "--iqa-strength=medium",
    "--iqa-max-queries=30",
    "--iqa-images=2",
)


@pytest.fixture
def suite(project: Any) -> Any:
    project.write("test_gate.py", GATE)
    return project


def test_protocols_are_options_and_stand_in_every_report(suite: Any, lines: Callable[[Any], str]) -> None:
    options = ("--iqa-scoring=worst-of-2", "--iqa-draws=3", "--iqa-doublings=0")
    result = suite.run(*SELECTED, *options)
    assert result.ret == ExitCode.PASS
    said = lines(result)
    assert "adaptive: own:Contrast behind random-noise: eot-3; scored worst-of-2; worst images: adaptive " in said
    assert "non-adaptive only" not in said
    table = pd.read_parquet(suite.path / "reports" / "results.parquet").set_index("scenario")
    assert table["protocol_scoring"].tolist() == ["worst-of-2"] * 2
    assert table.loc["adaptive", "protocol_attack"] == "eot-3"
    assert table.loc["nonadaptive", "protocol_attack"] == "direct"
    shares = table.loc["adaptive", ["worst_adaptive", "worst_transferred", "worst_queried"]].astype(float)
    assert shares.sum() == pytest.approx(1)
    assert (table["d_score_noise"] > 0).all()
    for name in ("summary.md", "summary.html"):
        text = (suite.path / "reports" / name).read_text(encoding="utf-8")
        assert "eot-3" in text
        assert "worst-of-2" in text


def test_a_pair_that_is_only_attacked_from_without_is_labelled(suite: Any, lines: Callable[[Any], str]) -> None:
    result = suite.run(*SELECTED, "--iqa-scenario=nonadaptive")
    assert "non-adaptive only, not attacked by who knows the defense: own:Contrast behind random-noise" in lines(result)
    for name in ("summary.md", "summary.html"):
        text = (suite.path / "reports" / name).read_text(encoding="utf-8")
        assert "random-noise (non-adaptive only)" in text


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--iqa-scoring=best-of-2", "no scoring protocol: 'best-of-2'"),
        ("--iqa-draws=many", "--iqa-draws is no whole number: 'many'"),
        ("--iqa-doublings=-1", "--iqa-doublings is no whole number: '-1'"),
    ],
)
def test_a_wrong_option_ends_the_run_before_anything_is_computed(suite: Any, option: str, said: str) -> None:
    result = suite.run(*SELECTED, option)
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines([f"*{said.replace('[', '?')}*"])
    assert suite.entries() == []


def test_an_unfinished_search_is_invalid_and_says_what_it_wants(suite: Any, lines: Callable[[Any], str]) -> None:
    suite.write(
        "strengths.yaml",
        """
        schema: 1
        strengths:
        - attack: ifgsm
          weak: {steps: 2, alpha: 0.001, epsilon: 0.016}
          medium: {steps: 2, alpha: 0.001, epsilon: 0.016}
          strong: {steps: 2, alpha: 0.001, epsilon: 0.016}
        """,
    )
    suite.write("test_gate.py", GATE.replace("gate.verdict", "gate.check"))
    more = ("--iqa-defense=flip", "--iqa-attack=ifgsm", "--iqa-strength=medium", "--iqa-scenario=adaptive")
    result = suite.run(*more, "--iqa-strengths=strengths.yaml", "--iqa-doublings=0", "--iqa-metric=own:Fragile")
    assert result.ret == ExitCode.INVALID
    assert "it wants steps 4 instead of 2 (--iqa-doublings)" in lines(result)
