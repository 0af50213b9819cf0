"""Outcomes counted, ordered and tabulated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.measures import Interval
from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.results import (
    adaptive_rows,
    counted,
    is_control,
    label,
    measure_of,
    number_of,
    ordered,
    pair_rows,
    results_table,
    security_curves,
    shown_worst_cases,
    spoken_counts,
    spoken_noise,
    spoken_shares,
    undefended_attacks,
)
from iqa_robustness.reporting.table import summary_lines


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "pass"),
        ({"status": "fail"}, "fail"),
        ({"status": "fail", "expected": True, "weakness": "known for long"}, "weakness"),
        ({"status": "inconclusive", "expected": True, "weakness": "known for long"}, "weakness"),
        ({"status": "pass", "weakness": "known for long"}, "gone"),
        ({"status": "invalid", "weakness": "known for long"}, "invalid"),
        ({"status": "pass", "waiver_expired": True}, "expired"),
        ({"status": "inconclusive", "waiver_expired": True}, "expired"),
        ({"status": "invalid", "waiver_expired": True}, "invalid"),
        ({"status": "missing"}, "missing"),
    ],
)
def test_a_label_tells_declared_from_undeclared(outcome: Any, changes: dict[str, Any], expected: str) -> None:
    assert label(outcome(**changes)) == expected


def test_a_pair_is_as_good_as_its_worst_cell_and_shows_its_worst_attack(outcome: Any, weak: Any) -> None:
    (row,) = pair_rows([outcome(), weak, outcome(scenario="clean", attack="", strength="", measures={})])
    assert row.verdict == "weakness"
    assert row.worst is weak
    assert row.counts == {"weakness": 1, "pass": 2}


def test_pairs_come_by_metric_with_the_undefended_one_first(outcome: Any) -> None:
    rows = pair_rows([outcome(metric=m, defense=d) for m in ("b", "a") for d in ("flip", "none", "blur")])
    assert [(row.metric, row.defense) for row in rows] == [
        ("a", "none"), ("a", "blur"), ("a", "flip"), ("b", "none"), ("b", "blur"), ("b", "flip"),
    ]  # fmt: skip


def test_a_pair_without_numbers_has_no_worst_attack(outcome: Any) -> None:
    (row,) = pair_rows([outcome(status="missing", measures={})])
    assert row.worst is None
    assert row.verdict == "missing"


def test_counts_are_spoken_from_bad_to_good(outcome: Any, red: Any, weak: Any) -> None:
    assert spoken_counts(counted([outcome(), outcome(), weak, red])) == "1 fail, 1 known weakness, 2 pass"


def test_the_worst_come_first_and_then_the_alphabet(outcome: Any, red: Any, weak: Any) -> None:
    cells = [outcome(metric="b"), outcome(metric="a"), weak, red]
    assert [c["name"] for c in ordered(cells)] == [red["name"], weak["name"], cells[1]["name"], cells[0]["name"]]


def test_measures_that_are_absent_are_nan(outcome: Any) -> None:
    assert measure_of(outcome(), "d_score") == 10.0
    assert math.isnan(measure_of(outcome(), "cert_rd"))


def test_planted_subjects_are_controls(outcome: Any) -> None:
    assert is_control(outcome(metric="iqa_robustness.metrics.planted:Robust"))
    assert not is_control(outcome(metric="planted:Robust"))


def test_the_table_is_tidy_and_keeps_unknown_bounds_empty(outcome: Any, red: Any) -> None:
    table = results_table([red, outcome()])
    assert table["defense"].tolist() == ["flip", "none"]
    assert table["verdict"].tolist() == ["fail", "pass"]
    assert table.loc[0, "d_score_high"] == 65.0
    assert table["srocc_adv_low"].isna().all()
    assert table["protocol_attack"].tolist() == ["direct", "direct"]
    assert table["record"].str.len().tolist() == [64, 64]


def worst_case() -> WorstCase:
    return WorstCase(
        subject=("compact", "none", "nonadaptive", "raise", "strong"),
        gain=Interval(value=41.25, low=30.0, high=52.0, clusters=10),
        attribution={"apgd": 0.75, "square": 0.25},
        images=60,
    )


def test_a_worst_case_is_a_row_of_the_table(outcome: Any) -> None:
    table = results_table([outcome()], [worst_case()])
    row = table[table["attack"] == "worst-case"].iloc[0]
    assert (row["metric"], row["defense"], row["goal"], row["strength"]) == ("compact", "none", "raise", "strong")
    assert (row["gain"], row["gain_low"], row["gain_high"]) == (41.25, 30.0, 52.0)
    assert row["attribution"] == "apgd 75 %, square 25 %"


def test_a_worst_case_stands_in_both_summaries(outcome: Any) -> None:
    page, text = summary_html([outcome()], {}, [worst_case()]), summary_markdown([outcome()], {}, [worst_case()])
    assert "41.2 [30.0, 52.0]" in page
    for shown in (page, text):
        assert "Worst case over attacks" in shown
        assert "apgd 75 %, square 25 %" in shown
    assert "Worst case" not in summary_html([outcome()], {})


def test_worst_cases_of_real_metrics_are_shown_from_weak_to_strong() -> None:
    subjects = [
        (metric, "none", "nonadaptive", goal, strength)
        for metric in ("lite0", "iqa_robustness.metrics.planted:Vulnerable", "compact")
        for goal in ("raise", "lower")
        for strength in ("own", "strong", "weak", "medium")
    ]
    found = shown_worst_cases(replace(worst_case(), subject=subject) for subject in subjects)
    assert [(w.subject[0], w.subject[3], w.subject[4]) for w in found] == [
        (metric, goal, strength)
        for metric in ("compact", "lite0")
        for goal in ("lower", "raise")
        for strength in ("weak", "medium", "strong", "own")
    ]
    planted = replace(worst_case(), subject=("iqa_robustness.metrics.planted:Robust", *worst_case().subject[1:]))
    assert "Worst case" not in summary_html([], {}, [planted])
    assert "Worst case" not in summary_markdown([], {}, [planted])


def curve_cells(outcome: Any, **changes: Any) -> list[Any]:
    return [
        outcome(
            strength=strength,
            budget={"restriction": "linf", "limit": limit / 255},
            measures={"gain": [5.0 * limit, 5.0 * limit - 1, 5.0 * limit + 1]},
            **changes,
        )
        for strength, limit in (("strong", 8), ("weak", 2), ("medium", 4))
    ]


def test_a_curve_runs_over_the_budgets_of_an_attack_that_raises(outcome: Any) -> None:
    cells = curve_cells(outcome) + curve_cells(outcome, attack="square")[:1]
    cells += [*curve_cells(outcome, attack="apgd", goal="lower"), outcome(budget={}, attack="", scenario="clean")]
    found = security_curves(cells)
    assert [*found] == [("compact", "none", "nonadaptive", "linf")]
    (curve,) = found["compact", "none", "nonadaptive", "linf"]
    assert curve.attack == "ifgsm"
    assert curve.limits == [2 / 255, 4 / 255, 8 / 255]
    assert curve.gains == [(10.0, 9.0, 11.0), (20.0, 19.0, 21.0), (40.0, 39.0, 41.0)]


def test_the_page_draws_the_curves(outcome: Any) -> None:
    page = summary_html(curve_cells(outcome), {})
    assert "Gain against budget" in page
    assert "<svg" in page
    assert "compact behind none, nonadaptive" in page
    assert "Gain against budget" not in summary_html([outcome()], {})


def test_attacks_on_bare_metrics_are_sorted_by_metric_attack_and_budget(outcome: Any) -> None:
    cells = [
        outcome(metric=metric, attack=attack, strength=strength)
        for metric in ("lite0", "compact")
        for attack in ("square", "codec")
        for strength in ("strong", "own", "weak")
    ]
    others = [outcome(defense="flip"), outcome(scenario="clean", attack="", strength=""), outcome(scenario="adaptive")]
    found = undefended_attacks([*cells, *others])
    expected = [
        (metric, attack, strength)
        for metric in ("compact", "lite0")
        for attack in ("codec", "square")
        for strength in ("weak", "strong", "own")
    ]
    assert [(cell["metric"], cell["attack"], cell["strength"]) for cell in found] == expected


@pytest.mark.parametrize(("value", "expected"), [([0.256, 0, 1], "0.26"), ([None, None, None], "–"), (None, "–")])
def test_a_number_that_a_cell_does_not_have_is_a_dash(outcome: Any, value: Any, expected: str) -> None:
    cell = outcome()
    if value is not None:
        cell["measures"] = {**cell["measures"], "survives_jpeg": value}
    assert number_of(cell, "survives_jpeg") == expected


# --- adaptive -------------------------------------------------------------------------------------------------------


@pytest.fixture
def adaptive(outcome: Any) -> Any:
    def make(**changes: Any) -> Any:
        usual = {
            "defense": "crop",
            "scenario": "adaptive",
            "protocol": {"scoring": "worst-of-4", "attack": "eot-8"},
            "sources": {"shares": {"adaptive": 0.9, "transferred": 0.1, "queried": 0.0}, "queried_images": 12},
        }
        made = outcome(**{**usual, **changes})
        made["measures"]["d_score_noise"] = [1.25, 1.0, 1.5]
        return made

    return make


def test_a_pair_that_no_attack_knew_is_labelled_so_everywhere(outcome: Any, adaptive: Any) -> None:
    cells = [outcome(), outcome(defense="flip"), outcome(defense="ms", scenario="certified"), adaptive()]
    labelled = {row.defense: row.nonadaptive_only for row in pair_rows(cells)}
    assert labelled == {"none": False, "flip": True, "ms": True, "crop": False}
    assert "non-adaptive only, not attacked by who knows the defense: compact behind flip, compact behind ms" in (
        summary_lines(cells)
    )
    for text in (summary_markdown(cells, {}), summary_html(cells, {})):
        assert "flip (non-adaptive only)" in text
        assert "crop (non-adaptive only)" not in text
        assert "none (non-adaptive only)" not in text


def test_an_adaptive_cell_that_was_never_computed_leaves_the_label(outcome: Any) -> None:
    missing = outcome(defense="flip", scenario="adaptive", status="missing", measures={})
    (row,) = pair_rows([outcome(defense="flip"), missing])
    assert row.nonadaptive_only


def test_a_pair_without_any_attack_is_not_labelled(outcome: Any) -> None:
    (row,) = pair_rows([outcome(defense="flip", scenario="clean", attack="", strength="", measures={})])
    assert not row.nonadaptive_only


def test_whose_image_was_worst_is_weighted_by_images(adaptive: Any) -> None:
    queried = {"shares": {"adaptive": 0.5, "transferred": 0.5}, "queried_images": 0}
    direct = {"scoring": "one-shot", "attack": "direct"}
    (row,) = adaptive_rows([adaptive(images=30), adaptive(images=10, sources=queried, protocol=direct)])
    assert row.sources == "adaptive 80 %, transferred 20 %, queried 0 %"
    assert (row.protocols, row.scoring) == ("direct, eot-8", "one-shot, worst-of-4")
    assert (row.queried_images, row.noise) == (12, 1.25)


def test_shares_are_said_in_one_order_whatever_the_order_they_were_kept_in() -> None:
    shares = {"transferred": 0.1, "queried": 0.0, "adaptive": 0.9}
    assert spoken_shares(shares) == "adaptive 90 %, transferred 10 %, queried 0 %"
    assert spoken_shares(dict(sorted(shares.items()))) == spoken_shares(shares)


def test_protocols_attribution_and_noise_stand_in_every_report(outcome: Any, adaptive: Any) -> None:
    cells = [outcome(), adaptive()]
    spoken = "adaptive 90 %, transferred 10 %, queried 0 %"
    assert f"adaptive: compact behind crop: eot-8; scored worst-of-4; worst images: {spoken}" in summary_lines(cells)
    markdown = summary_markdown(cells, {})
    assert f"| compact | crop | eot-8 | worst-of-4 | {spoken} | 12 | 1.2 |" in markdown
    assert "| placebo | noise |" in markdown
    page = summary_html(cells, {})
    assert page.replace("\u00a0", " ").count(spoken) == 2  # the pair's row, the cell's own
    assert ">eot-8<" in page
    table = results_table(cells)
    assert table["worst_transferred"].tolist()[0] == 0.1
    assert "d_score_noise" in table


def test_noise_that_was_not_measured_is_a_dash(outcome: Any, adaptive: Any) -> None:
    assert spoken_noise(outcome()) == "–"
    assert spoken_noise(adaptive()) == "1.2"
