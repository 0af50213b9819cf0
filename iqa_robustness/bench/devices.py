"""Where and how numbers are computed: device, threads, memory, and what of it belongs into a key."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import torch

from iqa_robustness.errors import ConfigurationError

# Parameters of glibc's mallopt: what is freed at the top goes back to the system, and what is mapped on its own.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**30


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """What may change the last bits of a number; part of every key.

    device: `cpu`, `cuda`, `cuda:1` …; only its type enters the key.
    micro_batch: rows of every forward pass.
    """

    device: str
    micro_batch: int

    @property
    def document(self) -> dict[str, Any]:
        """As it enters a key: device type, dtype, torch version without its build tag, micro-batch."""
        return {
            "device": torch.device(self.device).type,
            "dtype": "float32",
            "torch": torch.__version__.partition("+")[0],
            "micro_batch": self.micro_batch,
        }


def prepared_device(name: str, *, option: str = "--iqa-device") -> str:
    """Choose the device and set what exact repeatability needs: one CPU thread, deterministic kernels without TF32.

    The process keeps what it frees: every step needs again what the last one freed, and page faults took a sixth of the
    time of gradient attacks on a small metric. Peak memory stays the same.

    Args:
        name: `auto` (CUDA where there is one, else the CPU) or a torch device.
        option: how messages call what gave the name.

    Raises:
        ConfigurationError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"{option} {name!r} is no device: {error}", fix="write auto, cpu or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"{option} {name!r}: no CUDA device is available here", fix=f"use {option} cpu")
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # another number, another build, no memory behind it
        raise ConfigurationError(f"{option} {name!r} cannot compute here: {error}", fix=f"use {option} cpu") from error
    # One thread and another add in another order; parallelism comes from workers, each with cells of its own.
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    _keep_freed_memory()
    return str(device)


def _keep_freed_memory() -> None:
    # glibc only; elsewhere nothing is lost but time.
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
            libc.mallopt(_M_MMAP_THRESHOLD, _NEVER)
