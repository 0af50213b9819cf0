"""Exit codes of real runs: each row of the verdict table, declared and undeclared, and their precedence."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode

WEAKNESS = "a pattern that one row in two carries moves this score"


def declared(metric: str) -> str:
    return f"""
        version: 1
        defaults: {{nonadaptive: {{d_score: {{max: 20}}}}}}
        rules:
          - match: {{metric: "own:{metric}"}}
            known_weakness: "{WEAKNESS}"
    """


def test_a_robust_metric_passes(project: Any) -> None:
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(passed=1)


def test_a_vulnerable_metric_fails_with_the_numbers_and_the_command(project: Any) -> None:
    result = project.run("--iqa-metric=own:Fragile", "--iqa-strength=strong")
    assert result.ret == ExitCode.FAIL
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*fail: nonadaptive:own:Fragile/none/ifgsm/strong", "*D_score * at most 20 is required"]
    )
    result.stdout.fnmatch_lines(["*what to do: pytest *test_gate*own:Fragile/none/ifgsm/strong*"])


def test_a_declared_weakness_is_expected(project: Any) -> None:
    project.write("thresholds.yaml", declared("Fragile"))
    result = project.run("--iqa-metric=own:Fragile", "--iqa-strength=strong", "-rx")
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines([f"*{WEAKNESS}*"])


def test_a_declared_weakness_that_is_gone_fails_and_names_the_line(project: Any) -> None:
    project.write("thresholds.yaml", declared("Contrast"))
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["*the declared weakness is gone*", "*remove the rule at thresholds.yaml, line 5*"])


def waived(expires: str) -> str:
    return f"""
        version: 1
        defaults: {{nonadaptive: {{d_score: {{max: 20}}}}}}
        rules:
          - match: {{metric: "own:Fragile"}}
            waiver: {{reason: waits for new weights, owner: ana, issue: "https://example.org/7", expires: {expires}}}
    """


def test_a_waiver_holds_until_its_day_and_then_fails_with_its_owner_and_line(project: Any) -> None:
    project.write("thresholds.yaml", waived("2999-12-31"))
    arguments = ("--iqa-metric=own:Fragile", "--iqa-strength=strong", "-rx")
    result = project.run(*arguments)
    assert result.ret == ExitCode.PASS
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*waived until 2999-12-31 by ana, https://example.org/7*"])
    project.write("thresholds.yaml", waived("2020-12-31"))
    result = project.run(*arguments)
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["*the waiver has expired: *by ana*", "*thresholds.yaml, line 5*", "*waiver expired*"])


def test_a_failure_of_tier_normal_blocks_nothing(project: Any) -> None:
    project.write("thresholds.yaml", declared("Fragile").replace('known_weakness: "' + WEAKNESS + '"', "tier: normal"))
    result = project.run("--iqa-metric=own:Fragile", "--iqa-strength=strong")
    assert result.ret == ExitCode.INCONCLUSIVE
    result.assert_outcomes(failed=1)


def test_a_metric_that_got_worse_than_its_baseline_fails_within_its_limits(project: Any) -> None:
    ratchet = """
        version: 1
        defaults: {nonadaptive: {d_score: {max: 1000, max_regression: 2}}}
    """
    project.write("thresholds.yaml", ratchet)
    assert project.run("--iqa-strength=medium").ret == ExitCode.PASS
    store, file = str(project.path / ".iqa-store"), str(project.path / "baseline.parquet")
    assert main(["store", "export-baseline", "--iqa-store", store, "--to", file]) == 0
    assert project.run("--iqa-strength=medium", "--iqa-baseline=baseline.parquet").ret == ExitCode.PASS
    source = (project.path / "own.py").read_text(encoding="utf-8")
    # Four times as steep: its shifts leave the baseline's range, which they are measured on.
    project.write("own.py", source.replace("return 200 *", "return 800 *", 1))
    result = project.run("--iqa-strength=medium", "--iqa-baseline=baseline.parquet")
    assert result.ret == ExitCode.FAIL
    result.stdout.fnmatch_lines(["*fail: D_score * worse than the baseline (* there, * here); at most 2 worse *"])
    result = project.run("--iqa-strength=medium", "--iqa-baseline=gone.parquet")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines(["*the baseline cannot be read*"])


def test_an_attack_that_cannot_work_is_invalid_also_where_a_weakness_is_declared(project: Any) -> None:
    project.write("thresholds.yaml", declared("Flat"))
    result = project.run("--iqa-metric=own:Flat", "--iqa-strength=medium")
    assert result.ret == ExitCode.INVALID
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*invalid: nonadaptive:own:Flat/none/ifgsm/medium", "*its gradient is zero*"])


def test_an_interval_across_the_threshold_is_inconclusive(project: Any) -> None:
    project.write("thresholds.yaml", "version: 1\ndefaults: {nonadaptive: {d_score: {max: 6.2}}}\n")
    result = project.run("--iqa-strength=strong")
    assert result.ret == ExitCode.INCONCLUSIVE
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*inconclusive: nonadaptive:own:Contrast/none/ifgsm/strong"])


def test_a_cell_without_a_threshold_is_inconclusive(project: Any) -> None:
    project.write("thresholds.yaml", "version: 1\ndefaults: {clean: {spread: {min: 1}}}\n")
    result = project.run("--iqa-strength=weak")
    assert result.ret == ExitCode.INCONCLUSIVE
    result.stdout.fnmatch_lines(["*no threshold applies to this cell*"])


def test_a_failure_outweighs_missing_and_invalid_cells(project: Any) -> None:
    result = project.run("--iqa-metric=own:Fragile,own:Flat,own:NaN", "--iqa-strength=strong")
    assert result.ret == ExitCode.FAIL
    result.assert_outcomes(failed=3)


def test_a_missing_cell_outweighs_an_invalid_one(project: Any) -> None:
    result = project.run("--iqa-metric=own:Flat,own:NaN,own:Contrast", "--iqa-strength=medium")
    assert result.ret == ExitCode.MISSING
    result.assert_outcomes(failed=2, passed=1)


def test_an_ordinary_failing_test_counts_as_a_failure(project: Any) -> None:
    project.write("test_other.py", "def test_other():\n    assert False\n")
    result = project.run("--iqa-metric=own:NaN", "--iqa-strength=medium")
    assert result.ret == ExitCode.FAIL


def test_nothing_selected_keeps_pytests_code(project: Any) -> None:
    result = project.run("--iqa-defense=jpeg")
    assert result.ret == ExitCode.NOTHING_SELECTED


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--iqa-metric=compactt", "did you mean compact?"),
        ("--iqa-attack=ifsgm", "did you mean ifgsm"),
        ("--iqa-defense=jpg", "did you mean jpeg or"),
        ("--iqa-strength=mild", "known: medium, strong, weak"),
        ("--iqa-profile=smoky", "did you mean smoke?"),
        ("--iqa-images=ten", "no whole number"),
        ("--iqa-attachments=some", "did you mean none?"),
    ],
)
def test_an_option_that_cannot_be_met_is_a_usage_error(
    project: Any, lines: Any, option: str, hint: str, workers: str
) -> None:
    result = project.run(option, "-n", workers)
    assert result.ret == ExitCode.CONFIGURATION
    assert hint in lines(result)
    assert not project.entries()


def test_a_run_that_a_worker_started_is_no_worker(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    project.write("thresholds.yaml", "version: 1\ndefaults: {clean: {spread: {min: 1}}}\n")
    assert project.run("--iqa-strength=weak").ret == ExitCode.INCONCLUSIVE
    assert project.run("--iqa-metric=compactt").ret == ExitCode.CONFIGURATION
