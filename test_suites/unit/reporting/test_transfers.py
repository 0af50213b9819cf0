"""Matrices of transferred attacks: every cell in its place, signs towards the goal, and aligned tables."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.reporting.html import heat_map, summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.results import label, pair_rows, results_table, security_curves
from iqa_robustness.reporting.transfers import TransferMatrix, transfer_matrices

GAINS = {
    ("none", "none"): 40.0, ("none", "flip"): 10.0, ("none", "jpeg"): 4.0,
    ("flip", "none"): 9.0, ("flip", "flip"): 36.0, ("flip", "jpeg"): -1.0,
}  # fmt: skip


@pytest.fixture
def moved(outcome: Any) -> Any:
    """A transfer of a known gain, in score units of a metric that is better when higher."""

    def make(source: str, metric: str, defense: str, gain: float, **changes: Any) -> dict[str, Any]:
        changes = {"scenario": "transfer", "source": source, "status": "informing", **changes}
        found: dict[str, Any] = outcome(metric=metric, defense=defense, **changes)
        found["measures"] = {**found["measures"], "gain_defended": [gain, gain - 2, gain + 3]}
        found["name"] = f"transfer:{found['id']}/from:{source}"
        return found

    return make


@pytest.fixture
def between_defenses(moved: Any) -> list[dict[str, Any]]:
    return [moved(f"compact/{s}", "compact", t, gain) for (s, t), gain in GAINS.items()]


@pytest.fixture
def between_metrics(moved: Any) -> list[dict[str, Any]]:
    names = ("compact", "lite0")
    return [moved(f"{s}/none", t, "none", 40.0 if s == t else 3.0) for s in names for t in names]


def test_rows_are_attacked_and_columns_score(between_defenses: Any) -> None:
    (matrix,) = transfer_matrices(between_defenses)
    assert (matrix.sources, matrix.names) == (("none", "flip"), ("none", "flip", "jpeg"))
    found = {
        (s, t): gain[0]
        for s, row in zip(matrix.sources, matrix.gains, strict=True)
        for t, gain in zip(matrix.names, row, strict=True)
        if gain
    }
    assert found == GAINS
    assert matrix.gains[1][2] == (-1.0, -3.0, 2.0)
    assert matrix.title == "compact: ifgsm medium, from each defense to each"


def test_the_colour_is_the_share_of_the_rows_own_white_box_gain(between_defenses: Any) -> None:
    (matrix,) = transfer_matrices(between_defenses)
    assert [matrix.share(0, column) for column in range(3)] == pytest.approx([1, 0.25, 0.1])
    assert [matrix.share(1, column) for column in range(3)] == pytest.approx([0.25, 1, 0])


@pytest.mark.parametrize(("own", "other", "share"), [(0.1, 0.2, 0.2), (-3.0, 0.5, 0.5), (None, 8.0, 1.0)])
def test_where_the_white_box_attack_gains_next_to_nothing_colours_stay_pale(
    own: float | None, other: float, share: float
) -> None:
    gains = (None if own is None else (own, None, None), (other, None, None))
    facts = {"subject": "m", "attack": "a", "strength": "weak", "goal": "raise", "kind": "defense"}
    matrix = TransferMatrix(sources=("none",), names=("none", "flip"), gains=(gains,), **facts)
    assert matrix.share(0, 1) == pytest.approx(share)
    if own is None:
        assert matrix.share(0, 0) == 0


def test_metrics_have_a_matrix_of_their_own_beside_the_defenses(between_defenses: Any, between_metrics: Any) -> None:
    first, second = transfer_matrices([*between_metrics, *between_defenses])
    assert (first.subject, first.kind) == ("compact", "defense")
    assert (second.subject, second.kind) == ("undefended metrics", "metric")
    assert second.sources == second.names == ("compact", "lite0")
    # One cell of an undefended metric is not a matrix of defenses.
    assert len(transfer_matrices(between_metrics)) == 1


def test_attacks_strengths_and_goals_are_told_apart(between_defenses: Any, moved: Any) -> None:
    lowered = [moved(f"compact/{s}", "compact", "none", -7.0, goal="lower") for s in ("none", "flip")]
    stronger = [moved(f"compact/{s}", "compact", "none", 7.0, strength="strong") for s in ("none", "flip")]
    found = {(m.strength, m.goal): m for m in transfer_matrices([*between_defenses, *lowered, *stronger])}
    assert set(found) == {("medium", "raise"), ("medium", "lower"), ("strong", "raise")}
    # What the attacker wants counts as gain, and the bounds stay in order.
    assert found["medium", "lower"].gains[0][0] == (7.0, 4.0, 9.0)
    assert "lowering" in found["medium", "lower"].title


def test_what_has_no_number_or_no_source_or_is_planted_is_left_out(moved: Any, outcome: Any) -> None:
    planted = "iqa_robustness.metrics.planted:Robust"
    cells = [outcome(), moved("compact/flip", "compact", "none", 1.0)]
    cells += [moved(f"{planted}/{d}", planted, "none", 1.0) for d in ("none", "flip")]
    cells[1]["measures"]["gain_defended"] = [None, None, None]
    assert transfer_matrices(cells) == []


def test_bounds_that_do_not_exist_stay_away(moved: Any) -> None:
    cells = [moved(f"compact/{s}", "compact", "none", 5.0) for s in ("none", "flip")]
    cells[0]["measures"]["gain_defended"] = [5.0, None, None]
    (matrix,) = transfer_matrices(cells)
    assert matrix.gains[0][0] == (5.0, None, None)


def test_both_summaries_show_the_matrices_only_where_there_are_any(
    between_defenses: Any, between_metrics: Any, outcome: Any
) -> None:
    cells = [outcome(), *between_defenses, *between_metrics]
    page, text = summary_html(cells, {}), summary_markdown(cells, {})
    assert page.count('class="heat own"') == 4
    assert "compact: ifgsm medium, from each defense to each" in page
    rows = [line for line in text[text.index("## Transferred attacks, compact") :].splitlines() if line[:1] == "|"]
    assert rows[2:4] == ["| none | **40.0** | 10.0 | 4.0 |", "| flip | 9.0 | **36.0** | -1.0 |"]
    assert len({row.count("|") for row in rows[:4]}) == 1
    for shown in (summary_html([outcome()], {}), summary_markdown([outcome()], {})):
        assert "Transferred" not in shown


def test_transfers_enter_no_other_table_but_the_list_of_cells(between_defenses: Any, outcome: Any) -> None:
    cells = [outcome(defense="flip", d_score=5.0), *between_defenses]
    (flip,) = [row for row in pair_rows(cells) if row.defense == "flip"]
    assert flip.worst is cells[0]
    assert flip.verdict == "pass"
    assert [row["defense"] for row in heat_map(cells)["rows"]] == ["flip"]
    assert security_curves(between_defenses) == {}
    table = results_table(cells)
    assert sorted(table["source"].unique()) == ["", "compact/flip", "compact/none"]
    assert {"gain_defended", "gain_defended_low"} <= {*table.columns}
    assert label(between_defenses[0]) == "informing"
    assert "6 reported" in summary_markdown(cells, {})
