"""The files that a run leaves: summary.md, summary.html, results.parquet, and Allure's facts about the run."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from iqa_robustness import __version__
from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.reporting.gallery import Gallery
from iqa_robustness.reporting.html import summary_html
from iqa_robustness.reporting.markdown import summary_markdown
from iqa_robustness.reporting.results import Outcome, results_table


def write_reports(
    cells: list[Outcome],
    facts: Mapping[str, str],
    folder: Path,
    *,
    worst_cases: Sequence[WorstCase] = (),
    gallery: Gallery | None = None,
    allure_folder: Path | None = None,
) -> list[Path]:
    """Write everything; returns the paths a person may open.

    Args:
        cells: outcomes of the run.
        facts: what a reader needs to place the numbers; versions and machine are added.
        folder: where the summaries go; made if it does not exist.
        worst_cases: over the attacks of the run.
        gallery: pictures for the page; None for none anywhere.
        allure_folder: results of allure-pytest, completed by what they say of the run.
    """
    facts = {**facts, **_versions()}
    folder.mkdir(parents=True, exist_ok=True)
    markdown, html, table = (folder / name for name in ("summary.md", "summary.html", "results.parquet"))
    markdown.write_text(summary_markdown(cells, facts, worst_cases), encoding="utf-8")
    html.write_text(summary_html(cells, facts, worst_cases, gallery), encoding="utf-8")
    results_table(cells, worst_cases).to_parquet(table, index=False)
    if allure_folder is not None and allure_folder.is_dir():
        from iqa_robustness.reporting.allure_run import write_run

        write_run(allure_folder, facts, cells, os.environ)
    return [markdown, html]


def _versions() -> dict[str, str]:
    return {
        "iqa-robustness": __version__,
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
