"""`iqa-robustness run`: it fills the store that pytest judges from, and ends with the gravest error."""

from __future__ import annotations

from pathlib import Path

import pytest

from iqa_robustness.cli import main
from iqa_robustness.errors import ClusterError, ExitCode, MissingCellError
from iqa_robustness.reporting.run_command import Filled, located
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:"


def run(store: Path, *options: str, metric: str = "Robust") -> int:
    given = [
        "--iqa-metric",
        f"{PLANTED}{metric}",
        "--iqa-images",
        "2",
        "--iqa-size",
        "48x64",
        "--iqa-store",
        str(store),
    ]
    chosen = ["--iqa-scenario", "nonadaptive", "--iqa-attack", "ifgsm", "--iqa-strength", "weak"]
    return main(["run", *given, *chosen, "--iqa-defense", "none,flip", "--iqa-device", "cpu", *options])


def test_the_store_is_filled_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "store") == ExitCode.PASS
    assert f"2 cells computed, 0 found in {tmp_path / 'store'}, 0 missing, 0 not applicable" in capsys.readouterr().out
    assert len(Store(tmp_path / "store").digests(holding="record.parquet")) == 2
    assert run(tmp_path / "store") == ExitCode.PASS
    assert "0 cells computed, 2 found" in capsys.readouterr().out


def test_a_shard_is_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert run(tmp_path / "store", "--iqa-strength", "weak,strong", "--iqa-shard", f"{number}/2") == ExitCode.PASS
        assert "2 cells computed, 0 found" in capsys.readouterr().out


def test_an_error_is_said_and_the_other_cells_are_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = f"{PLANTED}Robust,exec:true"
    assert run(tmp_path / "store", "--iqa-metric", given, "--iqa-attack", "square", "--iqa-profile", "smoke") != 0
    said = capsys.readouterr()
    assert "ProgramCrashError" in said.err
    assert "2 cells computed, 0 found" in said.out
    assert "2 missing" in said.out


def test_nothing_can_be_filled_without_computing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path / "store")
    assert run(tmp_path / "store", "--iqa-from-store") == ExitCode.CONFIGURATION
    assert "--iqa-from-store computes nothing" in capsys.readouterr().err


def test_the_exit_code_is_that_of_the_gravest_error() -> None:
    def code(*errors: Exception) -> ExitCode:
        named = {str(number): error for number, error in enumerate(errors)}
        return Filled(computed=0, found=0, not_applicable=0, errors=named).exit_code

    assert code() == ExitCode.PASS
    assert code(RuntimeError("the metric's own")) == ExitCode.MISSING
    assert code(MissingCellError("x"), ClusterError("y")) == ExitCode.INFRASTRUCTURE


def test_nodes_are_given_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("store") == str(tmp_path / "store")
    assert located("s3://bucket/store") == "s3://bucket/store"
