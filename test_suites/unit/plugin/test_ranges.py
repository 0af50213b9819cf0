"""`--iqa-ranges`: a user's calibrated score ranges hold the user's metrics to what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.errors import ExitCode

CALIBRATED = """
schema: 1
ranges:
- {metric: contrast, kind: calibrated, version: "1", source: a test, images: 50, quantiles: [0.01, 0.99],
   low: 5, high: HIGH}
"""


@pytest.mark.parametrize(("high", "refused"), [(45, True), (65, False)])
def test_a_range_that_is_too_wide_stops_the_cell(project: Any, high: int, refused: bool) -> None:
    project.write("mine.yaml", CALIBRATED.replace("HIGH", str(high)))
    result = project.run("--iqa-ranges=mine.yaml", "--iqa-strength=weak")
    said = "declares the score range (0, 60), width 60; the calibrated one is (5, 45), width 40: 1.50 times as wide"
    assert (said in result.stdout.str()) is refused
    assert result.ret == (ExitCode.CONFIGURATION if refused else ExitCode.PASS)


def test_without_the_option_only_the_packages_ranges_count(project: Any) -> None:
    assert project.run("--iqa-strength=weak").ret == ExitCode.PASS


def test_a_file_that_cannot_be_used_stops_the_run_before_the_first_cell(project: Any) -> None:
    project.write("mine.yaml", "schema: 1")
    result = project.run("--iqa-ranges=mine.yaml")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(["*ranges: Field required*"])
