"""Places: on the same cells for all, with what is certain about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iqa_robustness.reporting.leaderboard_aggregate import aggregated
from iqa_robustness.reporting.leaderboard_board import board_of
from iqa_robustness.reporting.leaderboard_ranking import ranking


def test_the_best_comes_first_with_the_mean_of_the_table(league: Any) -> None:
    board = board_of(league({"none": 30, "flip": 20, "jpeg": 10}))
    found = ranking(board, "nonadaptive")
    assert found is not None
    assert [place.name for place in found.places] == ["jpeg", "flip", "none"]
    for place in found.places:
        table = aggregated("d_score", board.of(place.name, "nonadaptive"))
        assert table is not None
        assert place.d_score == pytest.approx(table.mean)
    assert [place.rank.rank for place in found.places] == [1, 2, 3]
    assert (found.tasks, found.unranked, found.test.contents) == (4, {}, 12)


def test_certain_places_are_in_no_group_and_alike_ones_share_a_letter(stored: Any) -> None:
    random = np.random.RandomState(1)
    clean = np.linspace(20, 80, 24)
    records = [
        stored("none", 60.0),
        *(stored(name, defended_attacked=clean + 10 + random.randn(24)) for name in ("flip", "jpeg")),
    ]
    found = ranking(board_of(records), "nonadaptive")
    assert found is not None
    first, second, last = found.places
    assert {first.groups, second.groups} == {"a"}
    assert (last.name, last.groups) == ("none", "")
    assert (first.rank.low, second.rank.high) == (1.0, 2.0)
    assert (last.rank.low, last.rank.high) == (3.0, 3.0)


def test_equal_defenses_share_a_place(league: Any) -> None:
    found = ranking(board_of(league({"flip": 10, "jpeg": 10, "none": 40})), "nonadaptive")
    assert found is not None
    assert [place.rank.rank for place in found.places] == [1.5, 1.5, 3.0]
    assert found.places[0].groups == found.places[1].groups == "a"


def test_who_lacks_a_cell_is_named_and_not_ranked(league: Any, stored: Any) -> None:
    board = board_of([*league({"none": 30, "flip": 20, "jpeg": 10}), stored("crop", 0.1)])
    found = ranking(board, "nonadaptive")
    assert found is not None
    assert "crop" not in [place.name for place in found.places]
    assert found.unranked == {"crop": 3}


def test_a_score_that_is_no_number_is_not_ranked(stored: Any) -> None:
    unscored = stored("crop", defended_attacked=np.nan)
    found = ranking(board_of([stored("none", 30), stored("flip"), unscored]), "nonadaptive")
    assert found is not None
    assert found.unranked == {"crop": 1}


def test_one_alone_and_none_at_all_have_no_ranking(league: Any) -> None:
    board = board_of(league({"flip": 20}))
    assert ranking(board, "nonadaptive") is None
    assert ranking(board, "adaptive") is None


def test_cells_weigh_as_in_the_table_where_metrics_are_missing_for_all(stored: Any) -> None:
    records = [
        stored(defense, shift, metric=metric, strength=strength)
        for defense, factor in (("none", 2.0), ("flip", 1.0))
        for metric, strength, shift in (
            ("compact", "medium", 10 * factor),
            ("lite0", "medium", 20 * factor),
            ("compact", "strong", 40 * factor),
        )
    ]
    found = ranking(board_of(records), "nonadaptive")
    assert found is not None
    assert [place.d_score for place in found.places] == pytest.approx([27.5, 55.0])
