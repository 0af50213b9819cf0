"""The state of an unfinished training, on disk whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from iqa_robustness.errors import StoreError, Where

# A killed training loses at most this much.
SECONDS_BETWEEN = 15.0


@dataclass(kw_only=True)
class Checkpoint:
    """A safetensors file, replaced at most every `SECONDS_BETWEEN` seconds; step and training are in its header.

    One file and not two: a rename replaces it whole.

    path: where it is or will be.
    training: names the training; a file of another one is not taken up.
    """

    path: Path
    training: str
    _saved: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """Steps done and the state after them; None where there is no such file, or one that cannot be used."""
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return (int(facts["step"]), state) if facts["training"] == self.training else None
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def offer(self, step: int, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Write the state after `step` steps, unless the last one is recent.

        Raises:
            StoreError: disk full, no permission. The state that was written before stands.
        """
        if time.monotonic() - self._saved < SECONDS_BETWEEN:
            return
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        content = safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in state().items()},
            metadata={"step": str(step), "training": self.training},
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise StoreError(
                f"the state of an unfinished training cannot be written: {error}",
                where=Where(file=str(self.path)),
                fix="check free disk space and permissions, and run again: it goes on from the last state written",
            ) from error
        self._saved = time.monotonic()
