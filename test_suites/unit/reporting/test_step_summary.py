"""summary.md fits into `$GITHUB_STEP_SUMMARY` however large the run is."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.reporting.markdown import LIMIT, summary_markdown

GITHUB = 1024 * 1024
FACTS = {"profile": "standard", "thresholds-sha256": "ef" * 32}


def many(outcome: Any, count: int, **changes: Any) -> list[Any]:
    """Cells of as many pairs, each in every table that it can be in."""
    number = [0.5, 0.4, 0.6]
    mixtures = [
        {"truth": truth, "share": share, "defended": number, "undefended": number}
        for truth in ("mos", "clean")
        for share in (0.1, 0.5, 0.9)
    ]
    cells = []
    for place in range(count):
        metric = f"package.of.somebody:Metric{place}"
        cell = outcome(
            metric=metric,
            defense=("none", "another.package:Defense")[place % 2],
            strength="strong",
            mixtures=mixtures,
            status="fail",
            reasons=[f"fail: D_score of {metric}: at most 20 % is required"],
            sources={"shares": {"adaptive": 0.9, "transferred": 0.1}, "queried_images": 12},
            cost={"forward": {"milliseconds": 12.0}},
            **changes,
        )
        cell["measures"] |= {"gain": number, "survives_jpeg": number, "cert_r": number, "cert_rd": number}
        cells.append(cell)
    return cells


def test_a_thousand_cells_are_shown_whole(outcome: Any) -> None:
    text = summary_markdown(many(outcome, 1000), FACTS)
    assert len(text.encode()) < GITHUB
    assert "Shortened" not in text
    assert text.count("| package.of.somebody:Metric999 |") >= 2
    assert text.rstrip().endswith("ef")


def test_what_is_too_long_ends_after_a_whole_line_and_says_so(outcome: Any) -> None:
    cells = many(outcome, 1000, weakness="", expected=True)
    for place, cell in enumerate(cells):
        cell["weakness"] = f"{place}: " + 2000 * "ü"
    text = summary_markdown(cells, FACTS)
    assert LIMIT - 5000 < len(text.encode()) <= LIMIT < GITHUB
    assert text.endswith("\n\nShortened: the rest is in summary.html.\n")
    last = text.splitlines()[-3]
    assert last.startswith("- ")
    assert last.endswith(2000 * "ü")


@pytest.mark.parametrize("count", [0, 1])
def test_a_short_text_is_left_alone(outcome: Any, count: int) -> None:
    assert "Shortened" not in summary_markdown(many(outcome, count), FACTS)
