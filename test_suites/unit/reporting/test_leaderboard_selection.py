"""The best parameter: the split, the rule, and that what was chosen on images is not praised on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.leaderboard_board import Task, board_of
from iqa_robustness.reporting.leaderboard_selection import (
    is_for_selection,
    presets_of,
    selected_on_held_out,
    varied_parameter,
)

TASK = Task("nonadaptive", "compact", "ifgsm", "medium")


def shifted(stored: Any, on_selection: float, on_report: float, **facts: Any) -> Any:
    """A record that is moved by so much on each half."""
    clean = np.linspace(20, 80, 24)
    halves = [is_for_selection(f"scene-{n % 12}") for n in range(24)]
    return stored("jpeg", defended_attacked=clean + np.where(halves, on_selection, on_report), **facts)


def test_the_split_is_by_content_seeded_and_about_even() -> None:
    contents = [f"photo-{number}" for number in range(2000)]
    first, again, other = ([is_for_selection(c, seed=seed) for c in contents] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert 900 < sum(first) < 1100
    assert 900 < sum(a == b for a, b in zip(first, other, strict=True)) < 1100


def test_the_preset_that_is_best_on_the_first_half_is_reported_on_the_other(stored: Any) -> None:
    presets = {"weak": {TASK: shifted(stored, 5.0, 30.0)}, "strong": {TASK: shifted(stored, 10.0, 10.0)}}
    found = selected_on_held_out(presets, measure="d_score")
    assert found is not None
    assert (found.chosen, found.best_on_report) == ("weak", "strong")
    assert found.on_selection["weak"].mean == pytest.approx(5)
    assert found.on_report["weak"].mean == pytest.approx(30)
    assert found.on_report["strong"].mean == pytest.approx(10)
    assert found.optimism == pytest.approx(25)
    # The other way round: another seed's halves are other ones, and the choice may be too.
    # By their text: a single cell has no deviation, and NaN equals nothing.
    assert repr(selected_on_held_out(presets, measure="d_score", seed=0)) == repr(found)


def test_correlations_are_better_when_they_are_higher(stored: Any) -> None:
    clean = np.linspace(20, 80, 24)
    presets = {
        "random": {TASK: stored("jpeg", defended_attacked=np.random.RandomState(0).rand(24))},
        "right": {TASK: stored("jpeg", defended_attacked=clean)},
    }
    found = selected_on_held_out(presets, measure="srocc_adv")
    assert found is not None
    assert (found.chosen, found.best_on_report) == ("right", "right")
    assert found.optimism == pytest.approx(0)


def test_no_image_is_on_both_sides_and_none_is_lost(stored: Any) -> None:
    found = selected_on_held_out({n: {TASK: shifted(stored, 5.0, 9.0)} for n in "ab"}, measure="d_score")
    assert found is not None
    contents = [half["a"].interval.clusters for half in (found.on_selection, found.on_report)]
    assert sum(contents) == 12
    assert found.chosen == "a"  # equal ones: the first by name


def test_choosing_among_noise_flatters_and_the_other_half_does_not(stored: Any) -> None:
    """Presets that are all alike: what is chosen looks better where it was chosen, and is average elsewhere."""
    random = np.random.RandomState(3)
    clean = np.linspace(20, 80, 24)
    optimism, reported = [], []
    for _ in range(30):
        presets = {
            str(n): {TASK: stored("jpeg", defended_attacked=clean + 20 + 5 * random.randn(24))} for n in range(5)
        }
        found = selected_on_held_out(presets, measure="d_score")
        assert found is not None
        optimism.append(found.optimism)
        reported.append(found.on_report[found.chosen].mean)
    assert np.mean(optimism) > 1
    assert np.mean(reported) == pytest.approx(20, abs=0.7)


@pytest.mark.parametrize("case", ["single", "empty", "no common task", "few contents", "no number"])
def test_where_nothing_can_be_held_out_nothing_is_chosen(stored: Any, case: str) -> None:
    record = shifted(stored, 5.0, 9.0)
    other = Task("nonadaptive", "compact", "square", "medium")
    few = stored("jpeg", content=["scene-0"] * 24)
    pseudo = shifted(stored, 5.0, 9.0, mos_kind="pseudo")
    presets: dict[str, Any] = {
        "single": {"a": {TASK: record}},
        "empty": {},
        "no common task": {"a": {TASK: record}, "b": {other: record}},
        "few contents": {"a": {TASK: few}, "b": {TASK: few}},
        "no number": {"a": {TASK: pseudo}, "b": {TASK: pseudo}},
    }
    assert selected_on_held_out(presets[case], measure="srocc_adv" if case == "no number" else "d_score") is None


def test_nothing_is_chosen_by_an_unknown_measure(stored: Any) -> None:
    with pytest.raises(ConfigurationError, match="'gain'"):
        selected_on_held_out({"a": {TASK: stored()}}, measure="gain")


def test_presets_differ_in_plain_parameters(stored: Any) -> None:
    board = board_of(
        [
            stored("jpeg", fields={"quality": 30}),
            stored("jpeg", fields={"quality": 80}),
            stored("flip"),
            stored("a+b", fields={"parts": [{"class": "A"}, {"class": "B"}]}),
            stored("a+b", fields={"parts": [{"class": "B"}, {"class": "A"}]}),
        ]
    )
    ((family, members),) = presets_of(board).items()
    assert (family, [one.fields["quality"] for one in members]) == (
        "iqa_robustness.defenses.purification.jpeg.JPEG",
        [30, 80],
    )
    assert varied_parameter(members) == "quality"


def test_a_curve_needs_one_number_to_go_along(stored: Any) -> None:
    two = board_of([stored("jpeg", fields={"q": q, "size": q}) for q in (1, 2)])
    flags = board_of([stored("jpeg", fields={"paper": paper}) for paper in (True, False)])
    for board in (two, flags):
        assert len(presets_of(board)) == 1
        assert varied_parameter(board.contestants) == ""
