"""What a metric takes here, measured in a few passes: seconds of an image, memory of a process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.resident import peak_mebibytes, restart_peak
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams

_MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Of one metric and one micro-batch, on this device.

    forward, backward: seconds an image.
    mebibytes: the metric's weights, and what a forward and a backward pass take beyond them at their peak, as the GPU's
        allocator says, or the system on a CPU; None where it does not tell. What the attack and the defense keep for
        themselves is not in it, nor are libraries.
    """

    forward: float
    backward: float
    mebibytes: float | None

    def seconds(self, forwards: int, backwards: int) -> float:
        """Of so many images."""
        return self.forward * forwards + self.backward * backwards


def pace_of(cell: Cell, runner: LocalRunner) -> Pace:
    """Of the cell's metric: four passes of images of its size, the better of two. Raises what the metric raises."""
    subject, numerics = runner.pair(cell).subject, runner.stages.numerics
    passes = _Passes(subject.metric, numerics.device, numerics.micro_batch, cell.size)
    differentiable = subject.probe.differentiable
    held = passes.begun()
    first = passes.seconds(gradient=differentiable)
    mebibytes = passes.grown(held)
    forward = min(passes.seconds(gradient=False) for _ in range(2))
    both = min(first, passes.seconds(gradient=True)) if differentiable else forward
    rows = numerics.micro_batch
    return Pace(forward=forward / rows, backward=max(both - forward, 0.0) / rows, mebibytes=mebibytes)


class _Passes:
    def __init__(self, metric: Metric, device: str, rows: int, size: tuple[int, int]) -> None:
        self.metric, self.device = metric, torch.device(device)
        self.images = torch.full((rows, 3, *size), 0.5, device=device)
        self.streams = Streams("speed", [str(row) for row in range(rows)], device=device)

    def seconds(self, *, gradient: bool) -> float:
        reference = self.images if self.metric.spec.full_reference else None
        began = time.perf_counter()
        with torch.set_grad_enabled(gradient):
            leaf = self.images.detach().requires_grad_(gradient)
            scores = self.metric.evaluate(leaf, streams=self.streams, reference=reference)
            if gradient and scores.requires_grad:
                torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began

    def begun(self) -> float | None:
        """MiB held before the first pass."""
        if self.device.type != "cuda":
            return restart_peak()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device) / _MEBIBYTE

    def grown(self, held: float | None) -> float | None:
        """MiB of the weights and of what came beyond `held`."""
        if self.device.type == "cuda":
            peak: float | None = torch.cuda.max_memory_allocated(self.device) / _MEBIBYTE
        else:
            peak = peak_mebibytes()
        if held is None or peak is None:
            return None
        tensors = [*self.metric.parameters(), *self.metric.buffers()]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / _MEBIBYTE
        return weights + max(peak - held, 0.0)
