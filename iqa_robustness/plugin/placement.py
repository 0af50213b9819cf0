"""Where workers run: how many there are, and which GPU each sees.

Only in a repository that has a thresholds file, since these hooks are called before anybody knows what is collected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from iqa_robustness.bench.gpus import Gpu, Listing, placements, visible_gpus, workers_on
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.plugin import options

# What `-n auto` goes by before us, as in pytest-xdist.
_COUNT = "PYTEST_XDIST_AUTO_NUM_WORKERS"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Of `-n auto` and `-n logical`: as many as fit on the GPUs; pytest-xdist's own count, the cores, without any."""
    if not is_concerned(config) or os.environ.get(_COUNT):
        return None
    gpus = usable_gpus(config)
    return workers_on(gpus, need=_need(config), cores=_cores()) if gpus else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Give every local worker its GPU and its threads, in its gateway's specification.

    A worker that takes the place of a lost one is started from the same specification; its number is another one.
    """
    if not is_concerned(config):
        return
    local = [spec for spec in specs if spec.popen and not spec.via]
    found = placements(len(local), usable_gpus(config), cores=_cores(), environment=os.environ)
    for spec, own in zip(local, found, strict=True):
        spec.env = own | spec.env  # what `--tx popen//env:…` says goes first


def is_concerned(config: pytest.Config) -> bool:
    """Whether the repository has a thresholds file, without which no suite can run."""
    return (config.rootpath / options.value(config, "thresholds")).is_file()


def usable_gpus(config: pytest.Config) -> list[Gpu]:
    """What workers are spread over; nothing where `--iqa-device` names the CPU or one GPU."""
    if options.value(config, "device") not in ("auto", "cuda"):
        return []
    return visible_gpus(Listing.of_this_machine(), os.environ)


def _need(config: pytest.Config) -> float | None:
    """MiB that processes have needed on a GPU, the most that the store knows of; None where it knows of none."""
    from iqa_robustness.bench.durations import recorded_mebibytes
    from iqa_robustness.plugin.session import robustness_session
    from iqa_robustness.store import Store

    try:
        return recorded_mebibytes(Store(robustness_session(config).store_url, read_only=True))
    except (IqaRobustnessError, OSError):
        return None


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
