"""The summaries that people read: terminal, markdown, HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from iqa_robustness.reporting.html import heat_map, summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.table import summary_lines

FACTS = {"profile": "smoke", "images": "mini"}


class Page(HTMLParser):
    """Checks that tags nest, and collects the text."""

    VOID = frozenset({"meta", "br", "wbr", "link", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_terminal_table_is_aligned(outcome: Any, red: Any, weak: Any) -> None:
    lines = summary_lines([outcome(), weak, red])
    header, _, *rows = lines[:4]
    assert rows[0].split()[:4] == ["compact", "none", "known", "weakness"]
    assert rows[1].split()[:2] == ["flip", "fail"]
    column = header.index("D_score %") + len("D_score %")
    assert rows[0][:column].endswith("40.0")
    assert rows[1][:column].endswith("63.0")
    assert lines[4] == "3 cells: 1 fail, 1 known weakness, 1 pass"
    assert lines[5] == "3 computed in this run, 0 taken from the store"


def test_the_shift_in_standard_deviations_stands_beside_every_d_score(outcome: Any, red: Any) -> None:
    cells = [outcome(), red]
    header, _, *rows = summary_lines(cells)[:4]
    column = header.index("÷ SD") + len("÷ SD")
    assert header.index("D_score %") < column < header.index("placebo")
    assert all(row[:column].endswith("1.25") for row in rows)
    assert "| D_score, % of range | ÷ SD | placebo |" in summary_markdown(cells, FACTS)
    page = Page(summary_html(cells, FACTS)).text
    assert "÷ SD" in page
    assert page.count("1.25 SD") == len(cells)


@pytest.mark.parametrize("unknown", [None, [None, None, None]])
def test_without_spread_there_is_a_dash_and_no_nan(outcome: Any, unknown: Any) -> None:
    cell = outcome()
    cell["measures"] = {**cell["measures"], "effect_size": unknown}
    if unknown is None:
        del cell["measures"]["effect_size"]
    row = summary_lines([cell])[2]
    assert "nan" not in row
    assert " – " in row
    assert "10.0 [8.0, 12.0] | – | 1.0" in summary_markdown([cell], FACTS)
    assert "nan" not in Page(summary_html([cell], FACTS)).text


def test_the_tables_rows_have_as_many_cells_as_their_header(outcome: Any) -> None:
    clean = outcome(attack="", strength="", scenario="clean", defense="flip", measures={"srocc_clear": [0.8, 0.7, 0.9]})
    rows = [line for line in summary_markdown([outcome(), clean], FACTS).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    table = summary_html([outcome(), clean], FACTS).split("<table>")[1].split("</table>")[0]
    assert table.count("<td") == 2 * table.count("<th")


def test_the_terminal_table_stays_within_125_columns(outcome: Any) -> None:
    cell = outcome(
        defense="jpeg",
        d_score=123.4,
        status="fail",
        expected=True,
        weakness="known",
    )
    assert max(len(line) for line in summary_lines([cell])) <= 125


def test_the_terminal_says_what_was_lost_and_what_was_reused(outcome: Any) -> None:
    lines = summary_lines([outcome(computed=False), outcome(status="missing", computed=False)], lost=["x::y[z]"])
    assert "0 computed in this run, 1 taken from the store" in lines
    assert "1 lost with their worker: x::y[z]" in lines
    waiting = summary_lines([outcome()], not_run=[f"x::{number}" for number in range(7)])
    assert "7 not run, no worker was left for them: x::0, x::1, x::2, x::3, x::4 and 2 more" in waiting


def test_failures_that_may_be_chance_are_named_in_the_terminal_and_in_markdown(outcome: Any, red: Any) -> None:
    passing = [outcome(metric=f"m{number}", chances={"d_score": None}) for number in range(30)]
    edge = [outcome(metric=f"e{n}", status="fail", exit_code=1, chances={"d_score": 0.02}) for n in range(23)]
    cells = [*passing, *edge, {**red, "chances": {"d_score": 1e-6}}]
    said = "1 of 24 failed checks stand at 5 % for all 54 checks of the run (Holm)"
    lines = summary_lines(cells)
    assert said in lines
    (line,) = [line for line in lines if "chance" in line]
    assert line.startswith("23 may be chance: nonadaptive:e0/none/ifgsm/medium (d_score), ")
    assert line.endswith(" and 18 more")
    text = summary_markdown(cells, FACTS)
    assert f"\n{said}; 23 may be chance, see below.\n" in text
    below = text.split("### May be chance")[1]
    assert below.count("- `nonadaptive:e") == 20
    assert "- … and 3 more (summary.html)" in below
    alone = [*passing, {**red, "chances": {"d_score": 1e-6}}]
    assert "1 of 1 failed checks stand" in summary_markdown(alone, FACTS)
    assert "chance" not in summary_markdown(alone, FACTS) + "".join(summary_lines(alone))


@pytest.mark.parametrize(("kind", "said"), [("pseudo", True), ("human", False)])
def test_pseudo_scores_are_called_so_everywhere(outcome: Any, kind: str, said: bool) -> None:
    cells = [outcome(mos_kind=kind)]
    assert any("pseudo" in line for line in summary_lines(cells)) is said
    assert ("pseudo" in summary_markdown(cells, FACTS)) is said
    assert ("pseudo" in summary_html(cells, FACTS)) is said


def test_controls_are_counted_apart(outcome: Any) -> None:
    control = outcome(metric="iqa_robustness.metrics.planted:Vulnerable", status="fail")
    lines = summary_lines([outcome(), control])
    assert "1 cell: 1 pass" in lines
    assert "1 cell of planted subjects judged the harness itself" in lines
    assert "1 cell: 1 pass." in summary_markdown([outcome(), control], FACTS)


def test_markdown_lists_what_is_not_green_with_reasons_and_weaknesses_once(outcome: Any, red: Any, weak: Any) -> None:
    text = summary_markdown([outcome(), weak, {**weak, "name": "other"}, red], FACTS)
    assert (
        "| compact | flip | ❌ fail | ifgsm/strong, adaptive | 63.0 [61.0, 65.0] | 1.25 | 1.0 | – | 0.80 → 0.50 |"
        in text
    )
    assert f"- ❌ `{red['name']}`: {red['reasons'][0]}" in text
    assert text.count("an undefended network <has> gradients") == 1
    assert "## Known weaknesses (2 cells)" in text


def test_markdown_shortens_a_long_list(red: Any) -> None:
    text = summary_markdown([{**red, "name": f"cell {number}"} for number in range(30)], FACTS)
    assert "… and 10 more" in text
    assert len(text) < 20_000


def test_the_page_nests_shows_every_cell_and_escapes_what_people_wrote(outcome: Any, red: Any, weak: Any) -> None:
    text = summary_html([outcome(), weak, red], FACTS)
    page = Page(text)
    assert not page.open
    assert "an undefended network <has> gradients" in page.text
    assert "<has>" not in text
    for cell in (outcome(), weak, red):
        assert cell["name"] in page.text
    assert "profile" in page.text


def test_the_page_needs_no_network(outcome: Any) -> None:
    text = summary_html([outcome()], FACTS)
    assert "://" not in text
    assert "src=" not in text
    assert "@import" not in text


def test_the_page_of_a_run_without_cells_still_nests() -> None:
    assert not Page(summary_html([], FACTS)).open


def test_the_heat_map_has_a_place_for_every_pair_and_attack(outcome: Any, red: Any) -> None:
    lowered = outcome(goal="lower", d_score=99.0)
    heat = heat_map([outcome(), outcome(strength="weak", d_score=5.0), red, lowered])
    assert heat["columns"] == [("ifgsm", "weak"), ("ifgsm", "medium"), ("ifgsm", "strong")]
    none, flip = heat["rows"]
    assert [(row["defense"], row["scenario"]) for row in (none, flip)] == [
        ("none", "nonadaptive"),
        ("flip", "adaptive"),
    ]
    assert [place and place["value"] for place in none["places"]] == [5.0, 10.0, None]
    assert flip["places"][2]["share"] == 1.0
    assert none["places"][1]["share"] == pytest.approx(10 / 60)


# --- after an encoder, and alone ------------------------------------------------------------------------------------


def encoded(outcome: Any, **changes: Any) -> Any:
    cell = outcome(strength="strong", **changes)
    more = {"survives_jpeg": [0.125, 0.0, 0.25], "rank_displacement": [41.26, 30.0, 50.0], "gain": [33.3, 30.0, 36.0]}
    return {**cell, "measures": {**cell["measures"], **more}}


def test_what_survives_and_climbs_is_shown_for_each_attack_on_a_bare_metric(outcome: Any) -> None:
    cells = [encoded(outcome), outcome(defense="flip", strength="strong"), outcome(scenario="adaptive")]
    text = summary_markdown(cells, FACTS)
    assert "| compact | ifgsm | 0.12 | – | 41.3 |" in text
    assert text.count("| compact | ifgsm |") == 1
    page = Page(summary_html(cells, FACTS)).text
    assert "After an encoder" in page
    for number in ("33.3", "0.12", "41.3"):
        assert number in page
    assert "nan" not in text + page


def test_without_such_a_cell_nothing_is_said_of_encoders(outcome: Any) -> None:
    cells = [outcome(defense="flip", strength="strong"), encoded(outcome, metric=CONTROL)]
    assert "encoder" not in summary_markdown(cells, FACTS)
    assert "encoder" not in Page(summary_html(cells, FACTS)).text


CONTROL = "iqa_robustness.metrics.planted:Robust"
