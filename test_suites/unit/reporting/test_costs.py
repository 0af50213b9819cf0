"""Defenses ranked by their cost: what is compared, what a millisecond is, and what stays unknown."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.reporting.costs import cost_rows
from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.results import results_table


def took(purify: float | None, forward: float, memory: float | None = None) -> dict[str, dict[str, float]]:
    more = {} if memory is None else {"mebibytes": memory}
    steps = {} if purify is None else {"purify": {"milliseconds": purify, "batches": 5, **more}}
    return {**steps, "forward": {"milliseconds": forward, "batches": 5, **more}}


@pytest.fixture
def cells(outcome: Any) -> list[dict[str, Any]]:
    """Two attacks on an undefended metric; a cheap defense, a dear one that helps more, and smoothing."""
    return [
        outcome(d_score=40.0, cost=took(0.001, 10.0)),
        outcome(d_score=60.0, strength="strong", cost=took(0.001, 10.0)),
        outcome(defense="flip", d_score=30.0, cost=took(0.5, 11.0)),
        outcome(defense="flip", d_score=50.0, strength="strong", cost=took(0.5, 11.0)),
        outcome(defense="diffpure", d_score=10.0, cost=took(2000.0, 10.0, 300.0)),
        outcome(defense="ms", d_score=35.0, scenario="certified", cost=took(None, 2010.0)),
    ]


def test_the_best_value_comes_first_whatever_it_takes_off(cells: Any) -> None:
    flip, diffpure, smoothing = cost_rows(cells)
    assert (flip.defense, flip.undefended, flip.defended, flip.cells) == ("flip", 50.0, 40.0, 2)
    assert (flip.reduction, flip.added, flip.per_millisecond) == (10.0, 0.5, 20.0)
    assert (diffpure.reduction, diffpure.per_millisecond, diffpure.memory) == (30.0, 0.015, 300.0)
    assert (smoothing.added, smoothing.per_millisecond) == (2000.0, 0.0025)
    assert flip.memory is None


def test_only_attacks_that_both_have_are_compared(cells: Any) -> None:
    (diffpure,) = [row for row in cost_rows(cells) if row.defense == "diffpure"]
    assert (diffpure.undefended, diffpure.cells) == (40.0, 1)
    without = [cell for cell in cells if cell["defense"] != "none"]
    assert cost_rows(without) == []
    assert cost_rows([{**cell, "goal": "lower"} for cell in cells]) == []
    assert cost_rows([{**cell, "scenario": "adaptive"} for cell in cells]) == []


def test_a_defense_that_harms_comes_after_those_that_help_and_what_was_not_measured_last(
    cells: Any, outcome: Any
) -> None:
    cells += [outcome(defense="unsharp", d_score=70.0, cost=took(1.0, 10.0)), outcome(defense="blur", d_score=1.0)]
    assert [row.defense for row in cost_rows(cells)] == ["flip", "diffpure", "ms", "unsharp", "blur"]
    assert cost_rows(cells)[3].per_millisecond == -30.0
    assert cost_rows(cells)[4].per_millisecond is None


def test_metrics_are_ranked_apart(cells: Any, outcome: Any) -> None:
    cells += [outcome(metric="brisque"), outcome(metric="brisque", defense="ms")]
    assert [row.metric for row in cost_rows(cells)] == ["brisque", "compact", "compact", "compact"]


def test_noise_that_makes_smoothing_faster_than_one_forward_gives_no_value(outcome: Any) -> None:
    cells = [outcome(cost=took(0.0, 10.0)), outcome(defense="ms", scenario="certified", cost=took(None, 9.9))]
    (row,) = cost_rows(cells)
    assert row.added == pytest.approx(-0.1)
    assert row.per_millisecond is None


def test_both_summaries_have_an_aligned_table_only_where_there_is_a_defense(cells: Any, outcome: Any) -> None:
    page, text = summary_html(cells, {}), summary_markdown(cells, {})
    table = page.split("Defenses by what they cost")[1].split("</table>")[0]
    assert table.count("<td") == 3 * table.count("<th ") + 3 * 2
    rows = [line for line in text[text.index("## Defenses by what") :].splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2] == "| compact | flip | 20.00 | 10.0 | 50.0 → 40.0 | 0.500 | 11.00 | – |"
    for shown in (summary_html([outcome()], {}), summary_markdown([outcome()], {})):
        assert "by what they cost" not in shown


def test_the_tidy_table_has_the_times(cells: Any) -> None:
    table = results_table(cells).set_index("defense")
    assert table.loc["diffpure", "purify_milliseconds"] == 2000
    assert table.loc["diffpure", "purify_mebibytes"] == 300
    assert table.loc["ms", "forward_milliseconds"] == 2010
