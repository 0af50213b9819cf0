"""Where and how numbers are computed: device, threads, and what of it belongs into a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from iqa_robustness.errors import ConfigurationError


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
    return str(device)
