"""Cost: the first batch warms up, the others are averaged, a GPU is waited for, and no record depends on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iqa_robustness.bench import cost
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.cost import Meter
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.store import Record, Store

ROBUST = "iqa_robustness.metrics.planted:Robust"
SIZES: dict[str, Any] = {"dataset": "mini", "size": (48, 64), "queries": 12, "draws": 2, "n0": 5, "n": 8}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that goes on only when it is told to."""
    now = [100.0]
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(cost.time, name, lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_the_first_batch_is_the_warm_up_and_rows_share_the_time(clock: Callable[[float], None]) -> None:
    meter = Meter("cpu", 4)
    for seconds in (9.0, 0.2, 0.4):
        with meter.step("purify"):
            clock(seconds)
        clock(5.0)  # what happens between steps is not theirs
    assert meter.document == {"purify": {"milliseconds": pytest.approx(75.0), "batches": 2}}


def test_a_single_batch_says_nothing(clock: Callable[[float], None]) -> None:
    meter = Meter("cpu", 4)
    with meter.step("forward"):
        clock(1.0)
    assert meter.document == {}


def test_on_a_cpu_waiting_for_others_is_not_counted() -> None:
    meter = Meter("cpu", 1)
    for _ in range(2):
        with meter.step("forward"):
            time.sleep(0.05)
    assert meter.document["forward"]["milliseconds"] < 25


def test_steps_are_told_apart(clock: Callable[[float], None]) -> None:
    meter = Meter("cpu", 1)
    for _ in range(3):
        for name, seconds in (("purify", 0.001), ("forward", 0.01)):
            with meter.step(name):
                clock(seconds)
    assert {name: facts["milliseconds"] for name, facts in meter.document.items()} == {
        "purify": pytest.approx(1.0),
        "forward": pytest.approx(10.0),
    }


def test_on_a_gpu_queued_work_is_waited_for_and_the_peak_beyond_what_was_held_is_shared(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the driver: work before the step, and the step's own, end only when they are waited for."""
    pending, held, peak = [3.0], 1000 * 2**20, [0]

    def wait(device: torch.device) -> None:
        assert device.type == "cuda"
        clock(pending.pop() if pending else 0.0)

    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, held))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    meter = Meter("cuda:0", 2)
    for mebibytes in (500, 20, 60):
        pending[:] = [3.0]
        with meter.step("purify"):
            pending[:] = [0.5]
            peak[0] = held + mebibytes * 2**20
    facts = meter.document["purify"]
    assert facts == {"milliseconds": pytest.approx(250.0), "mebibytes": 30.0, "batches": 2}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_this_gpu_a_matrix_product_takes_its_memory() -> None:
    meter = Meter("cuda", 1)
    for _ in range(3):
        with meter.step("forward"):
            torch.ones(2048, 2048, device="cuda") @ torch.ones(2048, 2048, device="cuda")
    assert 48 <= meter.document["forward"]["mebibytes"] < 200


# --- in a run -------------------------------------------------------------------------------------------------------


def clean_cell(defense: str, images: int = 5) -> Cell:
    return Cell(metric=ROBUST, defense=defense, scenario="clean", images=images, **SIZES)


def runner_at(path: Path) -> LocalRunner:
    return LocalRunner(Store(path), Numerics(device="cpu", micro_batch=2))


def test_a_record_says_what_scoring_its_clean_images_took(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    found = runner.record(clean_cell("median-blur")).volatile["cost"]
    assert {name: facts["batches"] for name, facts in found.items()} == {"purify": 2, "forward": 2}
    assert found["purify"]["milliseconds"] > found["forward"]["milliseconds"] > 0
    assert [*runner.record(clean_cell("ms")).volatile["cost"]] == ["forward"]
    assert runner.record(clean_cell("flip", images=2)).volatile["cost"] == {}


def test_what_the_store_has_keeps_its_cost_and_what_nobody_measured_has_none(tmp_path: Path) -> None:
    first = runner_at(tmp_path).record(clean_cell("jpeg")).volatile["cost"]
    assert runner_at(tmp_path).record(clean_cell("jpeg")).volatile["cost"] == first
    attacked = Cell(
        metric=ROBUST, defense="jpeg", scenario="nonadaptive", images=5, attack="ifgsm", strength="weak", **SIZES
    )
    assert runner_at(tmp_path).record(attacked).volatile["cost"] == first
    runner = runner_at(tmp_path / "other")
    cell = clean_cell("jpeg")
    assert runner.stages.cost(runner.pair(cell), runner.clean(cell), seed=0) == {}


def test_neither_key_nor_record_depends_on_the_time_it_took(tmp_path: Path) -> None:
    bytes_of: list[dict[str, bytes]] = []
    for folder in ("one", "two"):
        record: Record = runner_at(tmp_path / folder).record(clean_cell("jpeg"))
        bytes_of.append(record.files())
    assert bytes_of[0] == bytes_of[1]
    manifests = [path.read_text() for path in (tmp_path / "one").rglob("manifest.json")]
    assert manifests
    assert not any("milliseconds" in text or "cost" in json.loads(text)["key"] for text in manifests)
