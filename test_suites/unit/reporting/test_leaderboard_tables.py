"""The paper's tables and the studies': which number stands where, what is marked, and what is never given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iqa_robustness.gate.measurements import measure
from iqa_robustness.gate.study import STUDY
from iqa_robustness.reporting.leaderboard_board import board_of
from iqa_robustness.reporting.leaderboard_tables import (
    certified_table,
    metric_table,
    milliseconds,
    purification_table,
    study_table,
    training_table,
)

COST = {"purify": {"milliseconds": 2.0, "batches": 3}, "forward": {"milliseconds": 10.0, "batches": 3}}


def row(table: Any, defense: str) -> Any:
    (found,) = [one for one in table.rows if one["defense"].split(" ")[0] == defense]
    return found


@pytest.fixture
def both(league: Any) -> list[Any]:
    """Two purifications under both kinds of attack, and no defense under the one that it can have."""
    return [
        *league({"none": 30, "flip": 10, "jpeg": 20}),
        *league({"flip": 40, "jpeg": 30}, scenario="adaptive"),
    ]


def test_the_paper_s_columns_are_there(both: Any) -> None:
    table = purification_table(board_of(both))
    assert [column.heading for column in table.columns] == [
        "defense",
        "time, ms",
        "SROCC_clear",
        "non-adaptive D_score, %",
        "non-adaptive SROCC_adv",
        "non-adaptive Q_score",
        "non-adaptive cells",
        "adaptive D_score, %",
        "adaptive SROCC_adv",
        "adaptive Q_score",
        "adaptive cells",
    ]


def test_each_number_stands_where_it_belongs(both: Any) -> None:
    table = purification_table(board_of(both))
    flip = row(table, "flip")
    assert flip["nonadaptive_d_score"].mean == pytest.approx(30)
    assert flip["nonadaptive_d_score"].sd == pytest.approx(np.std([20, 40], ddof=1))
    assert flip["adaptive_d_score"].mean == pytest.approx(120)
    assert (flip["nonadaptive_cells"], flip["adaptive_cells"]) == (4, 4)
    one = measure(both[0])
    assert flip["srocc_clear"].mean == pytest.approx(one["srocc_clear"].value)
    assert flip["nonadaptive_q_score"].mean == pytest.approx(one["q_score"].value)


def test_the_undefended_metric_comes_first_then_by_adaptive_attacks(both: Any) -> None:
    table = purification_table(board_of(both))
    assert [one["defense"] for one in table.rows] == ["none", "jpeg", "flip"]
    assert row(table, "none")["adaptive_d_score"] is None
    assert row(table, "none")["adaptive_cells"] == 0
    assert table.notes == ()


def test_formulas_opinions_are_replaced_by_a_footnote(league: Any) -> None:
    table = purification_table(board_of(league({"none": 30, "flip": 10}, mos_kind="pseudo")))
    for one in table.rows:
        assert one["srocc_clear"] == one["nonadaptive_srocc_adv"] == "n/a ¹"
        assert one["nonadaptive_d_score"] is not None
    (note,) = table.notes
    assert note.startswith("¹ not applicable")
    assert "never enter a leaderboard" in note
    for other in (study_table, metric_table):
        shown = other(board_of(league({"none": 30, "flip": 10}, mos_kind="pseudo")))
        assert {one["srocc_adv"] for one in shown.rows} == {"n/a ¹"}
        assert shown.notes[0].startswith("¹")


def test_who_lacks_cells_and_whose_attacks_did_not_work_is_marked(league: Any, stored: Any) -> None:
    records = [
        *league({"none": 30, "flip": 10, "jpeg": 20}),
        stored("crop", 5.0),
        *league({"blur": 1}, gradient_finite=False),
    ]
    table = purification_table(board_of(records))
    assert {one["defense"] for one in table.rows} == {"none", "flip", "jpeg", "crop ²", "blur ³"}
    assert [note[0] for note in table.notes] == ["²", "³"]


def test_kinds_have_tables_of_their_own(league: Any) -> None:
    records = [
        *league({"none": 30, "flip": 10}),
        *league({"at-ssim": 15}, kind="training"),
        *league({"ms": 5}, kind="certified", scenario="certified"),
    ]
    board = board_of(records)
    assert [one["defense"] for one in purification_table(board).rows] == ["none", "flip"]
    trained_keys = {column.key for column in training_table(board).columns}
    assert not trained_keys & {"milliseconds", "nonadaptive_q_score", "adaptive_q_score"}
    (trained,) = training_table(board).rows
    assert (trained["defense"], trained["nonadaptive_d_score"].mean) == ("at-ssim", pytest.approx(45))
    (certified,) = certified_table(board).rows
    assert certified["defense"] == "ms"


def test_certified_defenses_are_ordered_by_radius_and_have_the_paper_s_numbers(stored: Any) -> None:
    facts: dict[str, Any] = {"kind": "certified", "scenario": "certified"}
    records = [
        stored("ms", **facts),
        stored("rs", form="classification", radius=0.2, abstained=[True] * 6 + [False] * 18, **facts),
    ]
    table = certified_table(board_of(records))
    wide, narrow = table.rows
    assert (wide["defense"], narrow["defense"]) == ("rs", "ms")
    assert wide["cert_r"].mean == pytest.approx(0.2)
    assert wide["abstain"].mean == pytest.approx(0.25)
    assert (wide["cert_rd"], narrow["abstain"].mean) == (None, 0.0)
    expected = measure(records[0])
    for name in ("cert_rd", "cert_r_familywise", "d_score_defended", "srocc_adv", "srocc_clear"):
        assert narrow[name].mean == pytest.approx(expected[name].value), name


def test_certificates_of_no_use_and_of_another_resolution_are_marked(stored: Any) -> None:
    facts: dict[str, Any] = {"kind": "certified", "scenario": "certified"}
    wide = stored("ms", attacked_upper=np.linspace(20, 80, 24) + 90, **facts)
    table = certified_table(board_of([wide, stored("ddrs", form="classification", resolution=256, **facts)]))
    assert {one["defense"] for one in table.rows} == {"ms †", "ddrs ‡"}
    assert [note[:9] for note in table.notes] == ["† vacuous", "‡ certifi"]


def test_without_such_defenses_a_table_has_no_row(league: Any) -> None:
    board = board_of(league({"none": 30, "flip": 10}))
    for table in (training_table(board), certified_table(board)):
        assert (table.rows, table.notes) == ((), ())


def test_the_studies_numbers_are_those_of_their_measures(league: Any) -> None:
    records = league({"flip": 10})
    (found,) = study_table(board_of(records)).rows
    for name, info in STUDY.items():
        assert found[name].median == pytest.approx(np.median([info.compute(r).value for r in records])), name
    assert found["srocc_shift"].mean <= 1


def test_metrics_are_ordered_by_the_r_score(league: Any) -> None:
    board = board_of(league({"none": 5, "flip": 1}))
    first, second = metric_table(board).rows
    assert (first["metric"], second["metric"]) == ("compact", "lite0")
    # The second is moved three times as far.
    assert first["r_score"].mean - second["r_score"].mean == pytest.approx(np.log10(3))
    assert first["d_score"].mean == pytest.approx(7.5)


def test_time_is_what_the_defense_adds(stored: Any) -> None:
    alone = {"purify": {"milliseconds": 0.0}, "forward": {"milliseconds": 10.0}}
    records = [
        stored("none", 30, volatile={"cost": alone}),
        stored("flip", volatile={"cost": COST}),
        stored("flip", metric="lite0", volatile={"cost": {**COST, "purify": {"milliseconds": 4.0}}}),
        stored("jpeg"),
        stored("ms", kind="certified", scenario="certified", volatile={"cost": {"forward": {"milliseconds": 210.0}}}),
    ]
    board = board_of(records)
    times = {one.name: milliseconds(board, one) for one in board.contestants}
    assert times == {"none": 0.0, "flip": 3.0, "jpeg": None, "ms": 200.0}
