"""What stands beside means: attacks, metrics, ranks, presets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iqa_robustness.reporting.leaderboard_board import board_of
from iqa_robustness.reporting.leaderboard_breakdown import (
    attack_table,
    by_metric_table,
    ranking_table,
    selection_table,
    selections,
)
from iqa_robustness.reporting.leaderboard_ranking import ranking


def test_each_attack_has_a_row_and_each_defense_a_column(league: Any) -> None:
    table = attack_table(board_of(league({"none": 30, "flip": 10})), "nonadaptive")
    assert [column.key for column in table.columns] == ["attack", "strength", "none", "flip"]
    medium, strong = table.rows
    assert (medium["attack"], medium["strength"], strong["strength"]) == ("ifgsm", "medium", "strong")
    assert medium["flip"].value == pytest.approx((10 + 30) / 2)
    assert strong["none"].value == pytest.approx((60 + 180) / 2)


def test_a_metric_that_dominates_the_mean_dominates_no_rank(stored: Any) -> None:
    # On two metrics flip is the better one; the third is moved so far that the mean says otherwise.
    shifts = {"flip": (1, 1, 300), "jpeg": (10, 10, 200)}
    records = [
        stored(defense, shift, metric=metric)
        for defense, row in shifts.items()
        for metric, shift in zip(("a", "b", "c"), row, strict=True)
    ]
    table = by_metric_table(board_of(records), "nonadaptive")
    flip, jpeg = table.rows
    assert flip["mean"] > jpeg["mean"]
    assert flip["median"] < jpeg["median"]
    assert (flip["mean_rank"], jpeg["mean_rank"]) == (pytest.approx(4 / 3), pytest.approx(5 / 3))
    assert (flip["median_rank"], jpeg["median_rank"]) == (1.0, 2.0)
    assert [flip[f"{metric} rank"] for metric in "abc"] == ["1", "1", "2"]
    assert flip["c"] == pytest.approx(300)


def test_who_lacks_cells_has_no_rank(league: Any, stored: Any) -> None:
    board = board_of([*league({"none": 30, "flip": 10}), stored("crop", 5.0)])
    crop = next(row for row in by_metric_table(board, "nonadaptive").rows if row["defense"] == "crop")
    assert crop["lite0"] is None
    assert crop["mean_rank"] is None
    assert crop["compact"] == pytest.approx(5)
    assert "compact rank" not in crop
    flip = next(row for row in by_metric_table(board, "nonadaptive").rows if row["defense"] == "flip")
    assert flip["compact rank"] == "1"


def test_equal_shifts_share_their_rank(league: Any) -> None:
    rows = by_metric_table(board_of(league({"flip": 10, "jpeg": 10, "none": 30})), "nonadaptive").rows
    assert [row["compact rank"] for row in rows] == ["3", "1.5", "1.5"]


def test_a_ranking_says_how_it_was_made_and_who_is_not_in_it(league: Any, stored: Any) -> None:
    board = board_of([*league({"none": 30, "flip": 20, "jpeg": 10}), stored("crop", 0.1)])
    found = ranking(board, "nonadaptive")
    assert found is not None
    table = ranking_table(found)
    assert [row["defense"] for row in table.rows] == ["jpeg", "flip", "none"]
    assert table.notes == ("not ranked: crop (lacks 3 of 4)",)
    assert f"closer than {found.test.difference:.2f}" in table.about
    assert "Demšar" in table.about
    assert "same 4 (metric, attack, strength)" in table.about


@pytest.fixture
def presets(stored: Any) -> list[Any]:
    random = np.random.RandomState(0)
    clean = np.linspace(20, 80, 24)
    return [
        stored("jpeg", defended_attacked=clean + shift + random.rand(24), fields={"quality": quality})
        for quality, shift in ((30, 5.0), (60, 15.0), (90, 40.0))
    ]


def test_presets_are_chosen_on_images_and_reported_on_others(presets: Any) -> None:
    board = board_of(presets)
    table = selection_table(board, "nonadaptive")
    assert [row["preset"] for row in table.rows] == [f"jpeg (quality={quality})" for quality in (30, 60, 90)]
    assert "highest SROCC_adv" in table.about
    assert "hash" in table.about
    (found,) = selections(board, "nonadaptive").values()
    chosen = next(row for row in table.rows if row["preset"] == found.chosen)
    assert "chosen" in chosen["chosen"]
    assert chosen["optimism"] == pytest.approx(found.optimism)
    assert sum(row["optimism"] is not None for row in table.rows) == 1


def test_without_peoples_opinions_the_least_shift_decides(stored: Any) -> None:
    records = [
        stored("jpeg", shift, fields={"quality": quality}, mos_kind="pseudo") for quality, shift in ((30, 5), (90, 40))
    ]
    table = selection_table(board_of(records), "nonadaptive")
    assert "lowest D_score" in table.about
    assert table.rows[0]["chosen"] == "chosen, best on the others"
    assert table.rows[0]["on_report"].mean < table.rows[1]["on_report"].mean


def test_without_presets_there_is_nothing_to_choose(league: Any) -> None:
    assert selection_table(board_of(league({"flip": 10, "jpeg": 20})), "nonadaptive").rows == ()
