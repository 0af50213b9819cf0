"""What limits a run is said before its numbers, and of each cell that it limits."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.gate.measurements import measure
from iqa_robustness.reporting.flags import PSEUDO, VACUOUS, cell_flags, datasets, numerics, run_flags
from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.results import NONADAPTIVE_ONLY, pair_rows

NOTE = "reported only: 6 images, 50 are needed to gate on it"


def flags_of(cells: list[Any]) -> dict[str, Any]:
    return {flag.title: flag for flag in run_flags(cells, pair_rows(cells))}


def vacuous(certified: Any) -> Any:
    cell = certified()
    cell["measures"]["cert_rd"] = [0.5, 0.4, 0.6]
    return cell


def test_a_run_that_nothing_limits_has_no_flags(outcome: Any) -> None:
    assert flags_of([outcome()]) == {}
    assert "What limits" not in summary_html([outcome()], {})


def test_every_limit_is_named_with_what_it_is_about(outcome: Any, certified: Any) -> None:
    elsewhere = {"device": "cuda", "dtype": "float32", "torch": "2.7.1", "micro_batch": 4}
    cells = [
        outcome(mos_kind="pseudo", notes={"rank_flips": NOTE, "srocc_shift": NOTE}),
        outcome(defense="flip", notes={"rank_flips": NOTE}, numerics=elsewhere),
        vacuous(certified),
    ]
    cells[0]["measures"]["rank_flips"] = [0.1, 0.0, 0.2]
    found = flags_of(cells)
    assert [*found] == [
        "Opinion scores are pseudo (1 cell)",
        "Non-adaptive only (2 pairs)",
        "Not gated (2 measures)",
        "Vacuous certificates (1 cell)",
        "Computed in different ways",
    ]
    assert found["Non-adaptive only (2 pairs)"].about == ("compact behind flip", "compact behind ms")
    assert found["Not gated (2 measures)"].text.startswith("Reported only: 6 images a cell are too few")
    assert found["Not gated (2 measures)"].about == ("rank_flips (50)", "srocc_shift (50)")
    assert found["Vacuous certificates (1 cell)"].about == (cells[2]["name"],)
    page = summary_html(cells, {})
    for flag in found.values():
        assert flag.title in page
    assert page.count(">not gated</span>") == 1


def test_measures_with_too_few_images_are_one_flag_whatever_their_numbers(outcome: Any) -> None:
    other = "not applicable: the data set has no opinion scores"
    notes = [{"rank_flips": NOTE, "srocc_adv": other}, {"rank_flips": NOTE.replace("6", "12")}]
    found = flags_of([outcome(notes=each) for each in notes])
    assert [*found] == ["Not gated (1 measure)"]  # two flags of one title: the other reason has its own
    few, without = run_flags([outcome(notes=each) for each in notes], [])
    assert few.text.startswith("Reported only: 6 to 12 images a cell are too few")
    assert (few.about, without.about) == (("rank_flips (50)",), ("srocc_adv",))
    assert without.text == "Not applicable: the data set has no opinion scores."


def test_the_note_of_too_few_images_is_the_one_that_measures_write(make_record: Any) -> None:
    notes = {name: found.note for name, found in measure(make_record(images=6)).items() if found.note}
    (flag,) = run_flags([{"notes": notes, "mos_kind": "human", "certificate": {}, "measures": {}, "numerics": {}}], [])
    assert "rank_flips (50)" in flag.about


def test_failures_that_may_be_chance_are_named(outcome: Any) -> None:
    others = [outcome(metric=f"m{number}", chances={"d_score": None}) for number in range(30)]
    red = [outcome(defense=name, status="fail", chances={"d_score": p}) for name, p in (("edge", 0.02), ("far", 1e-6))]
    found = flags_of([*others, red[1]])
    assert not any("chance" in title for title in found)
    found = flags_of([*others, *red])
    flag = found["Failures that may be chance (1 check)"]
    assert flag.about == ("nonadaptive:compact/edge/ifgsm/medium (d_score)",)
    assert flag.text.startswith("1 of 2 failed checks stand at 5 % for all 32 checks of the run")


@pytest.mark.parametrize(("chosen", "expected"), [("none", [PSEUDO]), ("flip", [PSEUDO, NONADAPTIVE_ONLY])])
def test_a_cell_bears_its_own_flags(outcome: Any, chosen: str, expected: list[str]) -> None:
    cell = outcome(defense=chosen, mos_kind="pseudo")
    assert cell_flags(cell, frozenset({("compact", "flip")})) == expected


def test_a_vacuous_certificate_is_flagged_where_it_is(certified: Any) -> None:
    assert cell_flags(vacuous(certified), frozenset()) == [VACUOUS]
    assert cell_flags(certified(), frozenset()) == []
    page = summary_html([vacuous(certified), certified(strength="weak")], {})
    assert page.count(f'<span class="tag">{VACUOUS}</span>') == 1


def test_many_cells_are_counted_instead_of_listed(certified: Any) -> None:
    cells = [{**vacuous(certified), "name": f"cell number {number}"} for number in range(15)]
    page = summary_html(cells, {})
    assert "and 3 more" in page


def test_how_cells_were_computed_is_counted(outcome: Any) -> None:
    missing = outcome(status="missing", numerics={}, dataset={})
    cells = [outcome(), outcome(strength="weak"), missing]
    assert numerics(cells) == {"cpu, float32, torch 2.7.1, micro-batch 4": 2}
    assert datasets(cells) == {"mini, digest cdcdcdcdcdcd": 2}
    assert "cpu, float32, torch 2.7.1, micro-batch 4 (2 cells)" in summary_html(cells, {})
