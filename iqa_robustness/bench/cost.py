"""What a defense costs: time and memory of an image, measured while its scores are computed, at no extra pass."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

_MEBIBYTE = 2**20


class Meter:
    """Measures steps of one micro-batch each; the first batch is the warm-up and does not count.

    Work on a GPU is waited for before and after a step. On a CPU, processor time is counted, so that the machine's
    other work is not; of a metric in a program of its own (`exec:`), that is this process's part. Memory is what a step
    takes at its peak beyond what was allocated before it; the CPU's allocator does not tell, there it is not measured.

    Args:
        device: torch device.
        micro_batch: rows of every batch, padding included: their number divides time and memory.
    """

    def __init__(self, device: str, micro_batch: int) -> None:
        self.device = torch.device(device)
        self.micro_batch = micro_batch
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._bytes: dict[str, list[int]] = defaultdict(list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step on one micro-batch."""
        on_gpu = self.device.type == "cuda"
        held = 0
        if on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            held = torch.cuda.memory_allocated(self.device)
        clock = time.perf_counter if on_gpu else time.process_time
        began = clock()
        yield
        if on_gpu:
            torch.cuda.synchronize(self.device)
            self._bytes[name].append(torch.cuda.max_memory_allocated(self.device) - held)
        self._seconds[name].append(clock() - began)

    @property
    def document(self) -> dict[str, Any]:
        """JSON by step: `milliseconds` and `mebibytes` an image, `batches` that were measured.

        A step of a single batch has no entry: nothing but its warm-up is known. Milliseconds are the mean of the
        batches; `mebibytes` is the largest, and absent on a CPU.
        """
        found: dict[str, Any] = {}
        for name, (_, *seconds) in self._seconds.items():
            if not seconds:
                continue
            facts = {"milliseconds": 1e3 * statistics.fmean(seconds) / self.micro_batch, "batches": len(seconds)}
            if self._bytes[name]:
                facts["mebibytes"] = max(self._bytes[name][1:]) / _MEBIBYTE / self.micro_batch
            found[name] = facts
        return found
