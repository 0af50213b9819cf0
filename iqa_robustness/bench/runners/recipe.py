"""What another process needs to make the same runner: plain values, nothing that is loaded."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from iqa_robustness.attacks.strengths import StrengthTable
from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.errors import Where
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.store import Store

# What of the environment says where things are; a machine that says it for itself is believed.
_TOLD = ("IQA_ROBUSTNESS_", "HF_HUB_OFFLINE")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A `LocalRunner`, yet to be made.

    store: folder or URL; every process must find the same one there.
    base: of the store, as its URL says it; None without one.
    device, micro_batch: as `Numerics` has them, `auto` allowed.
    until: seconds of the Unix clock; from then on no cell is begun that the store does not have. None for none.
    ranges, strengths: what `LocalRunner` takes, as YAML; empty for the package's and the attacks' own.
    folder: relative paths (data sets, programs) are taken from there, where it exists.
    paths: where modules are looked for besides the process's own places.
    environment: variables that the process is told, unless it has them.
    """

    store: str
    device: str
    micro_batch: int
    base: str | None = None
    until: float | None = None
    ranges: str = ""
    strengths: str = ""
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(path or str(Path.cwd()) for path in sys.path))
    environment: tuple[tuple[str, str], ...] = field(
        default_factory=lambda: tuple((k, v) for k, v in sorted(os.environ.items()) if k.startswith(_TOLD))
    )

    def runner(self) -> LocalRunner:
        """The runner, in a process that does nothing else: folder, module paths and threads are set for good.

        Raises:
            ConfigurationError: the device or the store cannot be used here.
            StoreError: the store cannot be written here.
        """
        for name, value in self.environment:
            os.environ.setdefault(name, value)
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        sys.path += [path for path in self.paths if path not in sys.path]
        numerics = Numerics(device=prepared_device(self.device), micro_batch=self.micro_batch)
        ranges = Ranges.parsed(self.ranges, name="the run's ranges") if self.ranges else None
        strengths = (
            StrengthTable.parsed(self.strengths, where=Where(file="the run's strengths")) if self.strengths else None
        )
        return LocalRunner(
            Store(self.store, base=self.base),
            numerics,
            ranges=ranges,
            strengths=strengths,
            deadline=None if self.until is None else time.monotonic() + self.until - time.time(),
        )
