"""The pace of a metric: seconds by its passes, memory by its weights and what a pass takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from iqa_robustness.bench import pace
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.pace import Pace, pace_of
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store

MEBIBYTES_OF_WEIGHTS = 12


class Heavy(Vulnerable):
    """Weights that nothing reads, and a sleep in every pass that has a gradient."""

    spec = MetricSpec(name="heavy", score_range=(0.0, 100.0))

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ballast", torch.zeros(MEBIBYTES_OF_WEIGHTS * 2**18))

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            time.sleep(0.02)
        return super().forward(images)


class Frank(Metric):
    """Answers, but has no gradient."""

    spec = MetricSpec(name="frank", score_range=(0.0, 100.0))

    def forward(self, images: Tensor) -> Tensor:
        return (100 * images.detach().mean(dim=(1, 2, 3))).round()


@pytest.fixture
def runner(tmp_path: Path) -> LocalRunner:
    return LocalRunner(Store(tmp_path, read_only=True), Numerics(device="cpu", micro_batch=4), from_store=True)


def test_seconds_are_those_of_so_many_passes() -> None:
    assert Pace(forward=0.5, backward=2.0, mebibytes=None).seconds(10, 3) == 11.0


def test_a_backward_pass_is_what_comes_beyond_a_forward_one(
    runner: LocalRunner, make_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "restart_peak", lambda: 500.0)
    monkeypatch.setattr(pace, "peak_mebibytes", lambda: 530.0)
    found = pace_of(make_cell(metric=f"{__name__}:Heavy", size=(32, 32)), runner)
    assert found.backward >= 0.02 / 4 * 0.9
    assert found.forward < found.backward
    signs = 3 * 6 * 8 * 4 / 2**20
    assert found.mebibytes == pytest.approx(30 + MEBIBYTES_OF_WEIGHTS + signs)


@pytest.mark.parametrize("silent", ["restart_peak", "peak_mebibytes"])
def test_memory_is_not_known_where_the_system_does_not_tell(
    silent: str, runner: LocalRunner, make_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, silent, lambda: None)
    found = pace_of(make_cell(metric=f"{__name__}:Frank", size=(32, 32)), runner)
    assert found.mebibytes is None
    assert (found.forward > 0, found.backward) == (True, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_pass_over_larger_images_takes_more(runner: LocalRunner, make_cell: Callable[..., Cell]) -> None:
    name = f"{__name__}:Heavy"
    small, large = (pace_of(make_cell(metric=name, size=size), runner).mebibytes for size in ((32, 32), (1024, 1024)))
    if small is None or large is None:
        pytest.skip("a container that does not let its peak be reset")
    images = 4 * 3 * 1024 * 1024 * 4 / 2**20  # of one micro-batch
    assert MEBIBYTES_OF_WEIGHTS <= small < large
    assert large - small > images
