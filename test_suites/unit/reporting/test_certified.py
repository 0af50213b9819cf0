"""The tables of certified defenses: their numbers, marks and notes, in all three reports."""

from __future__ import annotations

import math
from typing import Any

import pytest

from iqa_robustness.reporting.certified import (
    ATTACKED_COLUMNS,
    COLUMNS,
    ELSEWHERE,
    NOTES,
    SOUND_COLUMNS,
    VACUOUS,
    Number,
    certified_lines,
    certified_rows,
    is_vacuous,
    notes_of,
    sound_rows,
)
from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.results import results_table
from iqa_robustness.reporting.table import summary_lines

FACTS = {"profile": "smoke", "images": "mini"}


def shown(row: Any) -> dict[str, str]:
    named = zip((*COLUMNS, *ATTACKED_COLUMNS), (*row.numbers, *row.beside), strict=True)
    return {column[0]: str(number) for column, number in named}


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_number_has_its_interval_and_its_mark() -> None:
    assert str(Number(value="0.013", bounds="0.011, 0.015", mark=VACUOUS)) == "0.013 † [0.011, 0.015]"
    assert str(Number(value="–")) == "–"


def test_every_mean_of_a_median_stands_with_its_interval(certified: Any) -> None:
    (row,) = certified_rows([certified()])
    assert (row.metric, row.defense, row.attack) == ("compact", "ms", "ifgsm/strong, certified")
    assert shown(row) == {
        "cert_r": "0.050 [0.040, 0.060]",
        "cert_r_familywise": "0.045 [0.035, 0.055]",
        "cert_rd": "0.013 [0.011, 0.015]",
        "cert_rd_familywise": "0.016 [0.013, 0.019]",
        "abstain": "25 [10, 40]",
        "srocc_clear": "0.80 [0.70, 0.90]",
        "srocc_adv": "0.50",  # no interval is known
        "d_score_defended": "12.0 [9.0, 15.0]",
        "cert_share": "0 [0, 31]",
        "same_class": "–",
        "cert_width": "0.025 [0.020, 0.030]",
        "sampling_error": "0.50 [0.40, 0.60]",
        "vote_error": "–",
    }
    assert not row.marks


def test_a_class_has_no_interval_and_a_median_no_class(certified: Any) -> None:
    found = shown(certified_rows([certified("classification")])[0])
    assert {name for name, text in found.items() if text == "–"} == {
        "cert_rd",
        "cert_rd_familywise",
        "cert_width",
        "sampling_error",
    }
    assert found["same_class"] == "75 [50, 100]"


@pytest.mark.parametrize(("delta", "vacuous"), [(0.013, False), (0.3, False), (0.301, True), (math.nan, False)])
def test_a_delta_above_the_spread_of_clean_scores_is_vacuous(delta: float, vacuous: bool, certified: Any) -> None:
    cell = certified()
    cell["measures"]["cert_rd"] = [None if math.isnan(delta) else delta, 0.0, 1.0]
    assert is_vacuous(cell) is vacuous
    (row,) = certified_rows([cell])
    assert (VACUOUS in shown(row)["cert_rd"]) is vacuous
    assert row.marks == ({VACUOUS} if vacuous else set())
    # For all images at once it is wider, and judged by itself.
    cell["measures"]["cert_rd_familywise"] = [0.31, 0.3, 0.32]
    (row,) = certified_rows([cell])
    assert VACUOUS in shown(row)["cert_rd_familywise"]
    assert (VACUOUS in shown(row)["cert_rd"]) is vacuous


def test_a_radius_at_another_resolution_is_marked_and_no_other_number(certified: Any) -> None:
    (row,) = certified_rows([certified("classification", resolution=256)])
    found = shown(row)
    assert {name for name, text in found.items() if ELSEWHERE in text} == {"cert_r", "cert_r_familywise"}
    assert notes_of([row]) == {ELSEWHERE: NOTES[ELSEWHERE]}
    assert notes_of(certified_rows([certified()])) == {}


def test_rows_come_by_defense_scenario_attack_and_rising_strength(certified: Any, outcome: Any) -> None:
    cells = [
        certified("classification"),
        certified(strength="strong"),
        certified(strength="weak"),
        certified(scenario="adaptive", strength="weak", goal="lower"),
        outcome(),
    ]
    assert [(row.defense, row.attack) for row in certified_rows(cells)] == [
        ("ms", "ifgsm/weak, adaptive, lowering"),
        ("ms", "ifgsm/weak, certified"),
        ("ms", "ifgsm/strong, certified"),
        ("rs", "ifgsm/strong, certified"),
    ]


def test_soundness_cells_say_how_many_of_how_many_broke(sound: Any, certified: Any) -> None:
    lowering, raising = sound_rows([sound(goal="lower"), certified(), sound(broken=2)])[::-1]
    assert (raising.broken, raising.tested, raising.goal) == (2, 20, "raise")
    assert [str(number) for number in raising.numbers] == ["0.40 [0.20, 0.60]", "0.50 [0.40, 0.60]", "–", "0.020"]
    assert (lowering.broken, lowering.goal) == (0, "lower")
    assert len(SOUND_COLUMNS) == len(lowering.numbers)


# --- reports --------------------------------------------------------------------------------------------------------


def test_the_terminal_shows_each_pairs_weakest_certificate(certified: Any, sound: Any) -> None:
    weaker = certified(strength="weak")
    weaker["measures"]["cert_rd"] = [0.4, 0.3, 0.5]
    lines = certified_lines([certified(), weaker, certified("classification", resolution=64), sound(broken=1)])
    assert lines[0].startswith(
        "certified: compact behind ms, ifgsm/weak, certified: R 0.050 [0.040, 0.060] (higher is "
    )
    assert "Cert.RD 0.400 † [0.300, 0.500] (lower is better)" in lines[0]
    assert "SROCC clear 0.80 [0.70, 0.90]" in lines[0]
    assert "R 0.050 ‡" in lines[1]
    assert [line.strip()[0] for line in lines[2:4]] == [VACUOUS, ELSEWHERE]
    assert lines[4] == "soundness: compact behind ms, raise: 1 of 20 certificates broken inside their radii (p = 0.020)"
    assert certified_lines([]) == []
    assert set(lines) <= {*summary_lines([certified(), weaker, certified("classification", resolution=64), sound(1)])}


def test_markdown_and_page_hold_the_same_numbers_marks_and_notes(certified: Any, sound: Any) -> None:
    wide = certified()
    wide["measures"]["cert_rd"] = [0.5, 0.4, 0.6]
    cells = [wide, certified("classification", resolution=64), sound(broken=2)]
    markdown, page = summary_markdown(cells, FACTS), summary_html(cells, FACTS)
    for row in certified_rows(cells):
        for number in (*row.numbers, *row.beside):
            assert str(number) in markdown
            assert number.value in page
            assert number.bounds in page
    for text in (*NOTES.values(), "lower is better", "higher is better", "all at once", "2 of 20", "ideal smoothed"):
        assert text in markdown
        assert text in page
    for heading in ("Certified defenses", "Attacks inside the certified radius"):
        assert heading in markdown
        assert f"<h2>{heading}</h2>" in page
    # Every row of a table has the places of its heading.
    start = markdown.index("## Certified defenses")
    for table in markdown[start:].split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_run_without_certified_defenses_has_no_such_table(outcome: Any) -> None:
    for text in (summary_markdown([outcome()], FACTS), summary_html([outcome()], FACTS)):
        assert "Certified defenses" not in text
        assert "certified radius" not in text


def test_the_results_name_what_certificates_are_about(certified: Any, sound: Any, outcome: Any) -> None:
    table = results_table([certified("classification", resolution=64), sound(broken=2), outcome()])
    table = table.set_index("scenario")
    assert table.loc["certified", "certificate_form"] == "classification"
    assert table.loc["certified", "certificate_resolution"] == 64
    assert table.loc["certified", "cert_r_familywise_low"] == 0.035
    assert table.loc["soundness", ["certificate_broken", "certificate_tested"]].tolist() == [2, 20]
    assert table.loc["nonadaptive", [name for name in table if name.startswith("cert")]].isna().all()
