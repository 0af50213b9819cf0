"""`iqa-robustness plan`: what is there, what is not, and a table and JSON that say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.forecast import Forecast, PlannedCell, PlanRow
from iqa_robustness.bench.profiles import profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.plan_command import described
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


def plan(capsys: pytest.CaptureFixture[str], store: Path, *options: str) -> list[dict[str, Any]]:
    return document(capsys, store, *options)["rows"]  # type: ignore[no-any-return]


def document(capsys: pytest.CaptureFixture[str], store: Path, *options: str) -> dict[str, Any]:
    given = ["--iqa-metric", PLANTED, "--iqa-images", "6", "--iqa-size", "48x64", "--iqa-store", str(store)]
    assert main(["plan", *given, "--iqa-device", "cpu", "--json", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_cells_passes_and_space_are_those_of_the_selection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--iqa-scenario", "nonadaptive", "--iqa-attack", "ifgsm", "--iqa-defense", "none,flip", "--no-measure")
    (row,) = plan(capsys, tmp_path, *options)
    assert (row["cells"], row["stored"], row["computed"], row["seconds"]) == (6, 0, 6, None)
    assert row["backwards"] == 3 * 60  # three strengths, shared by two defenses
    assert row["forwards"] == 3 * (66 + 2 * 36)
    assert row["images_mebibytes"] == pytest.approx(3 * 6 * 48 * 64 * 2.2 / 2**20)
    assert row["store_mebibytes"] == row["images_mebibytes"] + row["records_mebibytes"]
    assert row["memory_mebibytes"] is None
    assert not any(tmp_path.iterdir()), "a plan writes nothing"


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
    other_seed = document(capsys, tmp_path, *options, "--iqa-seed", "5", "--workers", "2")
    assert (other_seed["rows"][0]["recorded"], other_seed["workers"], other_seed["device"]) == (1, 2, "cpu")
    totals = other_seed["totals"]
    assert totals["device_hours"] == pytest.approx(totals["seconds"] / 3600)
    assert totals["longest_seconds"] <= totals["elapsed_seconds"] < totals["seconds"]
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
    assert lines[4] == ""
    assert lines[5].startswith("– processor-hours on cpu; at best – with one worker")
    assert main([*given, "--iqa-shard", "3/2", "--iqa-store", str(tmp_path)]) == ExitCode.CONFIGURATION
    assert main([*given, "--workers", "0", "--iqa-store", str(tmp_path)]) == ExitCode.CONFIGURATION


DONE = PlannedCell(name="d", metric="m", scenario="clean", state="stored")
MISSING = PlannedCell(
    name="c",
    metric="m",
    scenario="clean",
    state="to compute",
    forwards=3_000,
    seconds=90.0,
    images_mebibytes=1.5,
    records_mebibytes=0.04,
)


def a_plan(recorded: int, *, device: str = "cuda", workers: int = 4, **changes: Any) -> Forecast:
    """1,000 cells to compute, so many of them as recorded; 200 stored, 7 not applicable."""
    cells = [replace(MISSING, recorded=number < recorded, **changes) for number in range(1000)]
    cells += [DONE] * 200 + [replace(DONE, state="not applicable")] * 7
    row = PlanRow.of(cells, 2345.6, metric="m", scenario="clean")
    return Forecast(
        cells=tuple(cells),
        rows=(row,),
        device=device,
        micro_batch=8,
        workers=workers,
        troubles={"x": "WeightsError: gone"},
    )


def test_the_footer_says_hours_sources_and_what_cannot_be_used() -> None:
    heads, line, whole, _, *footer = described(a_plan(400)).splitlines()
    assert heads.split("  ")[-2:] == ["memory, MiB", "store, MiB"]
    assert line.split()[2:] == ["1,207", "200", "1,000", "3,000,000", "0", "25.0", "h", "2,346", "1,540"]
    assert whole.split()[1:] == line.split()[2:]
    assert footer[0] == "25 GPU-hours on cuda; at best 6.2 h with 4 workers"
    assert footer[1] == "time: 400 of 1000 cells as in records of the store"
    assert footer[2].startswith("time: 600 of 1000 cells by passes")
    assert footer[3].startswith("memory: of one process, of the GPU, beside its context, with a micro-batch of 8;")
    assert footer[4] == "not applicable: 7 cells, which say nothing about their metric"
    assert footer[5] == "store: 1,500 MiB of adversarial images, 40 MiB of records"
    assert footer[6:] == ["x cannot be used here: WeightsError: gone"]


def test_the_footer_names_only_sources_that_there_are() -> None:
    assert "by passes" not in described(a_plan(1000))
    none = described(a_plan(0, device="cpu", workers=1, seconds=3.6))
    assert "1.00 processor-hours on cpu; at best 60 min with one worker" in none
    assert "as in records of the store\n" not in none.replace("as in records of the store, else", "")
    assert "of the machine" in none
