"""`iqa-robustness plan`: what is there, what is not, and a table and JSON that say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.profiles import profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.plan_command import spoken_time
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


def plan(capsys: pytest.CaptureFixture[str], store: Path, *options: str) -> list[dict[str, object]]:
    given = ["--iqa-metric", PLANTED, "--iqa-images", "6", "--iqa-size", "48x64", "--iqa-store", str(store)]
    assert main(["plan", *given, "--iqa-device", "cpu", "--json", *options]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_cells_passes_and_space_are_those_of_the_selection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--iqa-scenario", "nonadaptive", "--iqa-attack", "ifgsm", "--iqa-defense", "none,flip", "--no-measure")
    (row,) = plan(capsys, tmp_path, *options)
    assert (row["cells"], row["stored"], row["computed"], row["seconds"]) == (6, 0, 6, None)
    assert row["backwards"] == 3 * 60  # three strengths, shared by two defenses
    assert row["forwards"] == 3 * (66 + 2 * 36)
    assert row["mebibytes"] == pytest.approx(3 * 6 * 48 * 64 * 2.2 / 2**20)


def test_what_a_run_has_computed_is_found_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--iqa-scenario", "clean", "--iqa-defense", "none,flip")
    (row,) = plan(capsys, tmp_path, *options)
    assert (row["cells"], row["computed"]) == (2, 2)
    assert isinstance(row["seconds"], float)
    assert row["seconds"] > 0
    smoke = profile("smoke")
    cell = Cell(
        metric=PLANTED,
        defense="flip",
        scenario="clean",
        dataset="mini",
        images=6,
        size=(48, 64),
        queries=smoke.queries,
        draws=smoke.draws,
        n0=smoke.n0,
        n=smoke.n,
    )
    LocalRunner(Store(tmp_path), Numerics(device="cpu", micro_batch=4)).record(cell)
    (row,) = plan(capsys, tmp_path, *options)
    assert (row["stored"], row["computed"]) == (1, 1)
    (row,) = plan(capsys, tmp_path, "--iqa-scenario", "clean", "--iqa-defense", "flip")
    assert (row["computed"], row["forwards"], row["seconds"]) == (0, 0, 0.0)


def test_shards_add_up_to_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def total(*options: str) -> int:
        return sum(int(str(row["forwards"])) for row in plan(capsys, tmp_path, "--no-measure", *options))

    assert total("--iqa-shard", "1/2") + total("--iqa-shard", "2/2") == total()


def test_the_table_ends_with_what_it_adds_up_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["plan", "--iqa-metric", PLANTED, "--iqa-scenario", "clean,nonadaptive", "--no-measure"]
    assert main([*given, "--iqa-store", str(tmp_path), "--iqa-device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["metric", PLANTED, PLANTED, "all"]
    assert int(lines[3].split()[1]) == sum(int(line.split()[2]) for line in lines[1:3])
    assert main([*given, "--iqa-shard", "3/2", "--iqa-store", str(tmp_path)]) == ExitCode.CONFIGURATION


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (36_000, "10.0 h")]
)
def test_times_are_said_in_their_unit(seconds: float | None, text: str) -> None:
    assert spoken_time(seconds) == text
