"""A GPU that fails for good takes its process with it: after such an error every further cell would fail as well."""

from __future__ import annotations

import os
import sys

import pytest

from iqa_robustness.errors import ExitCode
from iqa_robustness.plugin.session import robustness_session, started

# In a worker's input: whether a worker that ends is replaced and what it had in its queue handed on.
REPLACED = "iqa_replaced"


def is_device_fault(error: BaseException) -> bool:
    """Whether an error is one of device or memory, and says nothing about a metric."""
    if "torch" not in sys.modules:
        return False
    from iqa_robustness.bench.memory import is_out_of_memory, is_sticky

    return is_out_of_memory(error) or is_sticky(error)


def note_lost_device(item: pytest.Item, error: BaseException) -> None:
    """Remember that the process has no GPU any more; without workers, stop the run."""
    if "torch" not in sys.modules:
        return
    from iqa_robustness.bench.memory import is_sticky

    if not is_sticky(error):
        return
    robustness_session(item.config).device_lost = str(error).partition("\n")[0]
    if not hasattr(item.config, "workerinput"):
        item.session.shouldfail = (
            f"the device is lost ({robustness_session(item.config).device_lost}); "
            "run again: the store has what was computed, and with -n 1 a lost worker is replaced"
        )


def end_if_device_lost(config: pytest.Config) -> None:
    """End the worker, if its device is lost and another worker will take its place."""
    if not started(config) or not config.workerinput.get(REPLACED):  # type: ignore[attr-defined]
        return
    lost = robustness_session(config).device_lost
    if lost:
        sys.stderr.write(f"\nthe device is lost ({lost}): this worker ends, a fresh one goes on\n")
        sys.stderr.flush()
        os._exit(ExitCode.INFRASTRUCTURE)
