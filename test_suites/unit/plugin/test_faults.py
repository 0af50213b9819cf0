"""Faults of other people's metrics, images and files: one named error that says what, where and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from iqa_robustness.errors import ExitCode


@pytest.mark.parametrize(
    ("metric", "error", "what", "place"),
    [
        ("NaN", "NonFiniteScoreError", "returned nan", "metric=*"),
        ("Averaged", "ScoreShapeError", "one score an image", "metric=*"),
        ("Normalised", "BatchDependenceError", "depends on its batch", "metric=*"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(
    project: Any, metric: str, error: str, what: str, place: str
) -> None:
    result = project.run(f"--iqa-metric=own:{metric}", "--iqa-strength=medium")
    assert result.ret == ExitCode.MISSING
    result.stdout.fnmatch_lines([f"{error}: *{what}*", f"*where: {place}defense=none, attack=ifgsm*", "*what to do: *"])
    assert "Traceback" not in result.stdout.str()
    assert not [path for path in project.entries() if (path / "record.parquet").exists()]


def test_the_image_that_gets_nan_is_named(project: Any) -> None:
    result = project.run("--iqa-metric=own:NaN", "--iqa-strength=medium")
    result.stdout.re_match_lines([r".*where: metric=contrast, .*image=(probe-\d|picture\d)"])


def test_a_metrics_own_exception_is_missing_with_its_stack_and_the_cell(project: Any) -> None:
    result = project.run("--iqa-metric=own:Raising", "--iqa-strength=medium")
    assert result.ret == ExitCode.MISSING
    result.stdout.fnmatch_lines(["*own.py*RuntimeError*"])
    result.stdout.fnmatch_lines(["*RuntimeError: no kernel for this size", "*where: metric=own:Raising, defense=none*"])
    result.stdout.fnmatch_lines(["*own:Raising * missing *"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_hanging_metric_is_stopped(project: Any, workers: str) -> None:
    result = project.run("--iqa-metric=own:Hanging", "--iqa-strength=medium", "--iqa-cell-timeout=2", "-n", workers)
    assert result.ret == ExitCode.MISSING
    result.stdout.fnmatch_lines(
        ["CellTimeoutError: cell nonadaptive:own:Hanging/none/ifgsm/medium ran longer than 2 s"]
    )
    assert not [path for path in project.entries() if (path / "record.parquet").exists()]


def test_a_truncated_image_is_named(project: Any) -> None:
    picture = project.path / "pictures" / "picture2.png"
    picture.write_bytes(picture.read_bytes()[:200])
    result = project.run("--iqa-strength=medium")
    assert result.ret != ExitCode.PASS
    result.stdout.fnmatch_lines(
        ["ImageReadError: *", "*where: *attack=ifgsm*picture2.png*", "*what to do: replace the file*"]
    )


def test_a_csv_with_a_missing_image_stops_the_run(project: Any) -> None:
    (project.path / "pictures" / "picture1.png").unlink()
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.CONFIGURATION
    result.stdout.fnmatch_lines(["DatasetError: *picture1.png*", "*where: *mos.csv, line=3"])


def test_a_corrupt_store_entry_is_quarantined_and_computed_again(project: Any) -> None:
    assert project.run("--iqa-strength=medium").ret == ExitCode.PASS
    (record,) = (project.path / ".iqa-store").glob("v1/entries/*/*/record.parquet")
    data = bytearray(record.read_bytes())
    data[len(data) // 2] ^= 1
    record.write_bytes(bytes(data))
    judged = project.run("--iqa-strength=medium", "--iqa-from-store")
    assert judged.ret == ExitCode.INFRASTRUCTURE
    judged.stdout.fnmatch_lines(["CorruptEntryError: *record.parquet does not match its digest*", "*run again*"])
    assert not (project.path / ".iqa-store" / "v1" / "quarantine").exists()
    result = project.run("--iqa-strength=medium")
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(
        ["1 computed in this run, 0 taken*", "repaired: a store entry is corrupt: record.parquet does not match*"]
    )
    assert "record.parquet does not match its digest" in (project.path / "reports" / "summary.md").read_text()
    assert len([*(project.path / ".iqa-store" / "v1" / "quarantine").iterdir()]) == 1
    assert project.run("--iqa-strength=medium", "--iqa-from-store").ret == ExitCode.PASS


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_typo_in_the_thresholds_is_named_with_file_and_line(project: Any, lines: Any, workers: str) -> None:
    project.write(
        "thresholds.yaml",
        """
        version: 1
        defaults:
          nonadaptive: {d_score: {max: 20}}
        rules:
          - match: {metric: "own:*", defence: none}
            tier: normal
        """,
    )
    result = project.run("-n", workers)
    assert result.ret == ExitCode.CONFIGURATION
    text = lines(result)
    assert "unknown key 'defence'" in text
    assert "did you mean defense?" in text
    assert "thresholds.yaml, line=5" in text


def test_a_missing_thresholds_file_is_a_usage_error(project: Any, lines: Any) -> None:
    (project.path / "thresholds.yaml").unlink()
    result = project.run()
    assert result.ret == ExitCode.CONFIGURATION
    assert "the thresholds file cannot be read" in lines(result)


def test_a_metric_that_is_no_metric_is_a_usage_error(project: Any) -> None:
    project.write("other.py", "class Thing:\n    pass\n")
    result = project.run("--iqa-metric=other:Thing", "--iqa-strength=medium")
    assert result.ret == ExitCode.CONFIGURATION
    result.stdout.fnmatch_lines(["*other:Thing' is no metric*", "*subclass iqa_robustness.metrics.base.Metric*"])


def test_a_store_that_cannot_be_written_is_infrastructure(project: Any) -> None:
    project.write("occupied", "a file where the store should be")
    result = project.run("--iqa-strength=medium", "--iqa-store=occupied")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(["*StoreError: *", "*what to do: check free disk space*"])
