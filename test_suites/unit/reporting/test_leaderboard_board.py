"""Which records are compared: never different images, budgets or versions, and nobody sets the course alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.leaderboard_board import Task, board_of, dataset_of, differing_fields


def with_cell(record: Any, **fields: Any) -> Any:
    return replace(record, meta={**record.meta, "cell": {**record.meta["cell"], **fields}})


def names(board: Any) -> list[str]:
    return [one.name for one in board.contestants]


def test_the_undefended_metric_comes_first_and_tasks_are_in_order(league: Any) -> None:
    board = board_of(league({"jpeg": 10, "flip": 20, "none": 30}))
    assert names(board) == ["none", "flip", "jpeg"]
    assert board.dataset == "koniq 192×256"
    assert [(task.strength, task.metric) for task in board.tasks["nonadaptive"]] == [
        ("medium", "compact"),
        ("medium", "lite0"),
        ("strong", "compact"),
        ("strong", "lite0"),
    ]
    assert board.metrics == ["compact", "lite0"]
    assert board.left_out == {}
    assert len(board.of("flip", "nonadaptive")) == 4
    assert board.of("flip", "adaptive") == {}


def test_the_order_of_records_does_not_matter(league: Any) -> None:
    records = league({"jpeg": 10, "flip": 20, "none": 30})
    first, second = board_of(records), board_of(reversed(records))
    assert names(first) == names(second)
    assert {key: r.meta["key"] for key, r in first.records.items()} == {
        key: r.meta["key"] for key, r in second.records.items()
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metric": "iqa_robustness.metrics.planted:Robust"}, "planted subject"),
        ({"defense": "iqa_robustness.defenses.planted:ConstantPurifier"}, "planted subject"),
        ({"goal": "lower"}, "attack that lowers the score"),
        ({"scenario": "clean"}, "scenario clean"),
        ({"scenario": "soundness"}, "scenario soundness"),
        ({"scenario": "transfer"}, "scenario transfer"),
        ({"size": [384, 512]}, "data set koniq 384×512"),
        ({"seed": 1}, "other conditions than most have, or computed twice"),
        ({"queries": 10}, "other conditions than most have, or computed twice"),
        ({"doublings": 3}, "other conditions than most have, or computed twice"),
        ({"scoring": "mean-of-4"}, "other conditions than most have, or computed twice"),
    ],
)
def test_what_is_not_comparable_is_left_out_and_counted(
    league: Any, stored: Any, change: dict[str, Any], reason: str
) -> None:
    records = league({"none": 30, "flip": 20, "jpeg": 10})
    odd = with_cell(stored("crop", strength="medium"), **change)
    board = board_of([*records, odd])
    assert board.left_out == {reason: 1}
    assert len(board.records) == len(records)


def test_other_images_and_other_versions_are_left_out(league: Any, stored: Any) -> None:
    records = league({"none": 30, "flip": 20, "jpeg": 10})
    others = stored("crop", digest="d1", images=12)
    board = board_of([*records, others])
    assert "crop" not in names(board)
    old = stored("crop")
    old = replace(old, meta={**old.meta, "metric": {**old.meta["metric"], "version": "0"}})
    assert "crop" not in names(board_of([*records, old]))
    attack = stored("crop")
    attack = replace(attack, meta={**attack.meta, "attack": {**attack.meta["attack"], "version": 7}})
    assert "crop" not in names(board_of([*records, attack]))


def test_where_the_images_lie_does_not_matter(league: Any, stored: Any) -> None:
    records = league({"none": 30, "flip": 20})
    board = board_of([*records, stored("crop", dataset="koniq:/elsewhere/photos")])
    assert "crop" in names(board)


def test_among_equals_more_images_count(stored: Any) -> None:
    few, many = stored("flip", digest="d1", images=12), stored("flip", digest="d2", images=36)
    (record,) = board_of([many, few]).records.values()
    assert len(record.images) == 36


def test_the_newest_of_two_computations_counts(stored: Any) -> None:
    early = stored("flip", 10.0, volatile={"created": "2026-01-01T00:00:00Z"})
    late = stored("flip", 20.0, volatile={"created": "2026-02-01T00:00:00Z"})
    late = replace(late, meta={**late.meta, "key": "f" * 64})
    for records in ([early, late], [late, early]):
        (record,) = board_of(records).records.values()
        assert record.volatile["created"].startswith("2026-02")


def test_a_newer_version_of_a_defense_replaces_the_older_one(stored: Any) -> None:
    board = board_of([stored("flip", 10.0), stored("flip", 12.0, strength="strong", version=2)])
    assert board.left_out == {"older version of a defense": 1}
    assert [task.strength for task in board.of("flip", "nonadaptive")] == ["strong"]


def test_presets_of_one_name_are_told_apart_by_what_differs(stored: Any) -> None:
    weak = stored("jpeg", fields={"quality": 80, "paper": False})
    strong = stored("jpeg", fields={"quality": 30, "paper": False})
    board = board_of([weak, strong, stored("flip", fields={"paper": False})])
    assert names(board) == ["flip", "jpeg (quality=30)", "jpeg (quality=80)"]


def test_one_who_brings_tasks_of_their_own_changes_nothing_for_others(league: Any, stored: Any) -> None:
    records = league({"none": 30, "flip": 20, "jpeg": 10})
    board = board_of([*records, stored("crop", 0.01, attack="easy"), stored("crop", 15.0)])
    assert Task("nonadaptive", "compact", "easy", "medium") not in board.tasks["nonadaptive"]
    assert [task.attack for task in board.of("crop", "nonadaptive")] == ["ifgsm"]
    assert board.lacking("crop", "nonadaptive") == 3
    assert board.lacking("flip", "nonadaptive") == 0


def test_scenarios_are_apart(league: Any) -> None:
    records = league({"none": 30, "flip": 20}) + league({"flip": 40, "jpeg": 30}, scenario="adaptive")
    board = board_of(records)
    assert [one.name for one in board.taking_part("adaptive")] == ["flip", "jpeg"]
    assert [one.name for one in board.taking_part("nonadaptive")] == ["none", "flip"]
    assert board.taking_part("certified") == []


def test_a_data_set_is_chosen_by_name_or_by_its_records(league: Any, stored: Any) -> None:
    records = [*league({"none": 30, "flip": 20}), stored("flip", dataset="mini", digest="m0", mos_kind="pseudo")]
    assert board_of(records).dataset == "koniq 192×256"
    assert not board_of(records).pseudo
    chosen = board_of(records, dataset="mini 192×256")
    assert chosen.pseudo
    assert chosen.left_out == {"data set koniq 192×256": 8}
    assert dataset_of(records[-1]) == "mini 192×256"


def test_with_nothing_to_compare_it_says_what_there_is(stored: Any) -> None:
    with pytest.raises(ConfigurationError, match="nothing to compare"):
        board_of([])
    with pytest.raises(ConfigurationError, match="'kadid 1×1'") as caught:
        board_of([stored()], dataset="kadid 1×1")
    assert "'koniq 192×256' (1)" in caught.value.fix


def test_fields_that_differ() -> None:
    assert differing_fields([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}]) == ["b"]
    assert differing_fields([{"a": [1]}, {"a": [1, 2]}]) == ["a"]
