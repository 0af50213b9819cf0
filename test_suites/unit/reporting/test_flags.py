"""What limits a run is said before its numbers, and of each cell that it limits."""

from __future__ import annotations

from typing import Any

import pytest

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
        "Opinion scores are pseudo (1 cells)",
        "Non-adaptive only (2 pairs)",
        "Not gated (2 measures)",
        "Vacuous certificates (1 cells)",
        "Computed in different ways",
    ]
    assert found["Non-adaptive only (2 pairs)"].about == ("compact behind flip", "compact behind ms")
    assert found["Not gated (2 measures)"].text == f"R{NOTE[1:]}."
    assert found["Not gated (2 measures)"].about == ("rank_flips", "srocc_shift")
    assert found["Vacuous certificates (1 cells)"].about == (cells[2]["name"],)
    page = summary_html(cells, {})
    for flag in found.values():
        assert flag.title in page
    assert page.count(">not gated</span>") == 1


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
