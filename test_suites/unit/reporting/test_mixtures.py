"""The table of unknown attacks: which cell stands for a pair, and what its places say."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.mixtures import mixture_columns, mixture_rows
from iqa_robustness.reporting.results import results_table


@pytest.fixture
def mixed(outcome: Any) -> Any:
    """A cell with the same SROCC under all shares."""

    def make(defended: float | None, undefended: float | None = 0.25, **changes: Any) -> dict[str, Any]:
        places = [
            {"truth": truth, "share": share, "defended": [defended, None, None], "undefended": [undefended, 0.0, 0.5]}
            for truth in ("mos", "clean")
            for share in (0.1, 0.5, 0.9)
        ]
        found: dict[str, Any] = outcome(mixtures=places, **changes)
        return found

    return make


def test_the_cell_with_the_lowest_numbers_stands_for_its_pair_and_scenario(mixed: Any) -> None:
    cells = [mixed(0.8, strength="weak"), mixed(0.3, strength="strong"), mixed(0.5, scenario="adaptive")]
    cells += [mixed(0.7, defense="flip"), mixed(0.1, goal="lower")]
    assert [(row.defense, row.scenario, row.attack) for row in mixture_rows(cells)] == [
        ("none", "nonadaptive", "ifgsm/strong"),
        ("none", "adaptive", "ifgsm/medium"),
        ("flip", "nonadaptive", "ifgsm/medium"),
    ]


def test_places_say_defended_and_undefended(mixed: Any) -> None:
    none, flip = mixture_rows([mixed(0.7), mixed(0.7, defense="flip")])
    assert (none.text("mos", 0.5), flip.text("mos", 0.5)) == ("0.70", "0.70 (0.25)")
    assert flip.text("mos", 0.3) == "–"
    (alone,) = mixture_rows([mixed(0.7, None, defense="flip")])
    assert alone.text("clean", 0.9) == "0.70"


def test_columns_are_those_that_exist_opinions_first(mixed: Any) -> None:
    cell = mixed(0.7)
    assert mixture_columns(mixture_rows([cell])) == [(t, s) for t in ("mos", "clean") for s in (0.1, 0.5, 0.9)]
    cell["mixtures"] = [place for place in cell["mixtures"] if place["truth"] == "clean"]
    assert mixture_columns(mixture_rows([cell])) == [("clean", s) for s in (0.1, 0.5, 0.9)]


def test_a_cell_without_numbers_has_no_row(mixed: Any, outcome: Any) -> None:
    assert mixture_rows([outcome(), mixed(None)]) == []


def test_both_summaries_have_the_table_only_where_something_was_mixed(mixed: Any, outcome: Any) -> None:
    cells = [mixed(0.7), mixed(0.6, defense="flip")]
    page, text = summary_html(cells, {}), summary_markdown(cells, {})
    assert "Unknown attack" in page
    assert "0.60 (0.25)" in page
    part = text[text.index("## Unknown attack") :].partition("\n## Defenses")[0].splitlines()
    rows = [line for line in part if line.startswith("|")]
    assert rows[0].startswith("| metric | defense | scenario | worst attack | opinion scores, 10 % |")
    assert len({row.count("|") for row in rows}) == 1
    assert rows[3] == "| compact | flip | nonadaptive | ifgsm/medium |" + 6 * " 0.60 (0.25) |"
    for shown in (summary_html([outcome()], {}), summary_markdown([outcome()], {})):
        assert "Unknown attack" not in shown


def test_the_tidy_table_has_every_number_with_its_bounds(mixed: Any) -> None:
    (row,) = results_table([mixed(0.7)]).to_dict("records")
    assert row["srocc_mixed_mos_50_defended"] == 0.7
    assert row["srocc_mixed_clean_90_undefended_high"] == 0.5
