"""Failures of one run: those that stand when all of its checks are counted, and those that may be chance."""

from __future__ import annotations

from typing import Any

from iqa_robustness.errors import ExitCode

# The whole interval of the medium attack, 34.4 to 80.7, is beyond its bound by next to nothing: of such failures one in
# forty is chance, and with six checks there are six chances. The strong one is beyond by four times its bound.
THRESHOLDS = """
    version: 1
    defaults: {nonadaptive: {d_score: {max: 20}}}
    rules:
      - match: {metric: "own:Fragile", strength: medium}
        thresholds: {d_score: {max: 34}}
"""
EDGE, CLEAR = (f"nonadaptive:own:Fragile/none/ifgsm/{strength}" for strength in ("medium", "strong"))
OPTIONS = ("--iqa-metric=own:Contrast,own:Fragile", "--iqa-strength=weak,medium,strong")


def test_a_failure_at_its_threshold_may_be_chance_and_one_far_beyond_stands(project: Any) -> None:
    project.write("thresholds.yaml", THRESHOLDS)
    result = project.run_alone(*OPTIONS)
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines([f"*fail: {EDGE}", f"*fail: {CLEAR}"])
    stand = "1 of 2 failed checks stand at 5 % for all 6 checks of the run (Holm)"
    result.stdout.fnmatch_lines([stand, f"1 may be chance: {EDGE} (d_score)"])
    summary = (project.path / "reports" / "summary.md").read_text(encoding="utf-8")
    assert f"\n{stand}; 1 may be chance, see below.\n" in summary
    below = summary.split("### May be chance")[1]
    assert f"- `{EDGE} (d_score)`\n" in below
    assert CLEAR not in below
    page = (project.path / "reports" / "summary.html").read_text(encoding="utf-8")
    assert f'{stand}. All stay red; more images would tell. <span class="soft">{EDGE} (d_score)</span>' in page

    # Declared, it is no failure any more, and still one of the checks.
    project.write("thresholds.yaml", THRESHOLDS + "        known_weakness: this metric has a pattern\n")
    result = project.run(*OPTIONS, "--iqa-from-store")
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["1 of 1 failed checks stand at 5 % for all 6 checks of the run (Holm)"])
    result.stdout.no_fnmatch_line("*may be chance*")
