"""What time or memory does not suffice for: the rest is missing, never passed, and the next run goes on from there."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as parquet
import pytest

from iqa_robustness.errors import ExitCode

# `rows` is a file that says how many images memory suffices for.
SMALL = '''
"""A metric on a device with little memory."""
import pathlib
import torch
from own import Contrast

class Large(Contrast):
    def forward(self, images):
        if images.shape[-2] == 192:
            with open("asked", "a") as asked:
                asked.write(f"{len(images)} ")
            if len(images) > int(pathlib.Path("rows").read_text()):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(images)
'''


@pytest.fixture
def small(project: Any) -> Any:
    project.write("small.py", SMALL)
    project.write("rows", "2")
    return project


def sizes(project: Any) -> list[int]:
    """Micro-batches of the records in the store, as their keys have them."""
    found = []
    for path in (project.path / ".iqa-store").glob("v1/entries/*/*/record.parquet"):
        document = json.loads((path.parent / "manifest.json").read_text())["key"]
        assert parquet.read_metadata(path).num_rows
        found.append(document["numerics"]["micro_batch"])
    return sorted(found)


def test_where_memory_does_not_suffice_the_micro_batch_is_halved_and_found_again(small: Any) -> None:
    options = ("--iqa-metric=small:Large", "--iqa-strength=medium")
    result = small.run(*options, "--alluredir=allure")
    assert result.ret == ExitCode.PASS
    result.stdout.fnmatch_lines(
        [
            "1 computed in this run, 0 taken from the store",
            "1 cells have a micro-batch of 2: memory did not suffice for 4",
        ]
    )
    assert sizes(small) == [2]
    asked = (small.path / "asked").read_text().split()
    assert asked.count("4") == 1
    for more in ((), ("--iqa-from-store",)):
        again = small.run(*options, *more)
        assert again.ret == ExitCode.PASS
        again.stdout.fnmatch_lines(["0 computed in this run, 1 taken from the store"])
    assert (small.path / "asked").read_text().split() == asked, "nobody runs out of memory twice"
    chosen = small.run(*options, "--iqa-micro-batch=2")
    chosen.stdout.fnmatch_lines(["0 computed in this run, 1 taken from the store"])


def test_a_device_that_holds_no_single_image_is_infrastructure(small: Any) -> None:
    small.write("rows", "0")
    result = small.run("--iqa-metric=small:Large", "--iqa-strength=medium")
    assert result.ret == ExitCode.INFRASTRUCTURE
    result.stdout.fnmatch_lines(
        [
            "DeviceMemoryError: memory does not suffice for one image of 192 x 256 pixels: CUDA out of memory*",
            "*where: metric=small:Large*",
            "*what to do: use a device with more memory*",
        ]
    )
    assert (small.path / "asked").read_text().split() == ["4", "2", "1"]
    assert sizes(small) == []


def test_when_the_time_is_spent_the_store_is_judged_and_the_rest_is_missing(project: Any) -> None:
    assert project.run("--iqa-strength=weak").ret == ExitCode.PASS
    late = project.run("--iqa-max-hours=1e-9")
    assert late.ret == ExitCode.MISSING
    late.assert_outcomes(passed=1, failed=2)
    late.stdout.fnmatch_lines(
        [
            "TimeSpentError: the run's time is spent (--iqa-max-hours), and the cell is not in the store",
            "0 computed in this run, 1 taken from the store",
            "2 cells were not begun, the time is spent; this goes on where it stopped: pytest *--iqa-max-hours=1e-9",
        ]
    )
    enough = project.run("--iqa-max-hours=1")
    assert enough.ret == ExitCode.PASS
    enough.stdout.fnmatch_lines(["2 computed in this run, 1 taken from the store"])


@pytest.mark.slow
def test_workers_have_the_time_of_the_run_not_of_their_own(project: Any) -> None:
    late = project.run("--iqa-max-hours=1e-9", "-n", "2")
    assert late.ret == ExitCode.MISSING
    late.assert_outcomes(failed=3)
    late.stdout.fnmatch_lines(["3 cells were not begun, the time is spent*-n 2"])
    assert not project.records()


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_hours_that_are_none_stop_the_run(project: Any, given: str) -> None:
    result = project.run(f"--iqa-max-hours={given}")
    assert result.ret == ExitCode.CONFIGURATION
    result.stderr.fnmatch_lines([f"*--iqa-max-hours is no number of hours: '{given}'*"])
