"""What happens where memory does not suffice, or a GPU fails for good: which error it is, and what is remembered of it.

The micro-batch is part of a cell's key, so a record that was computed at half of it has a key of its own. A small entry
under the whole one's says which size sufficed: the next run goes there without running out of memory again.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator

import torch

from iqa_robustness.bench.resident import peak_mebibytes
from iqa_robustness.store import Key, Store

_FILE = "micro_batch.json"
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
# Of errors of the device; after one the process gets no other answer from it.
_STICKY = ("CUDA error", "CUBLAS_STATUS_EXECUTION_FAILED", "CUDNN_STATUS_EXECUTION_FAILED", "HIP error")
_MEBIBYTE = 2**20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a device or of the machine did not suffice; also where an error of ours has it as its cause."""
    return any(
        isinstance(each, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(each, RuntimeError) and any(text in str(each) for text in _OUT_OF_MEMORY))
        for each in _chain(error)
    )


def is_sticky(error: BaseException) -> bool:
    """Whether the error leaves the process without a usable GPU (a failed assertion or a bad address in a kernel)."""
    if is_out_of_memory(error):
        return False
    # Newer versions of torch have a class for it, which derives from what older ones raise.
    return any(
        isinstance(each, RuntimeError)
        and (type(each).__name__ == "AcceleratorError" or any(text in str(each) for text in _STICKY))
        for each in _chain(error)
    )


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def held_mebibytes(device: str) -> dict[str, float]:
    """The most that the cells of this process have needed so far.

    `mebibytes` that it holds of a GPU; on a CPU `resident_mebibytes` of the machine's memory, libraries and all,
    nothing where the system does not tell.
    """
    if torch.device(device).type != "cuda":
        peak = peak_mebibytes()
        return {} if peak is None else {"resident_mebibytes": round(peak, 1)}
    return {"mebibytes": round(torch.cuda.memory_reserved(device) / _MEBIBYTE, 1)}


def fitting_micro_batch(store: Store, key: Key) -> int | None:
    """The micro-batch that sufficed for a cell whose key has a larger one; None where nothing is known of it."""
    entry = store.get(_note(key))
    return None if entry is None else int(json.loads(entry.read(_FILE))["micro_batch"])


def remember_micro_batch(store: Store, key: Key, size: int) -> None:
    """Note which micro-batch sufficed, for the next run."""
    store.put(_note(key), {_FILE: json.dumps({"micro_batch": size}).encode()})


def _note(key: Key) -> Key:
    return Key({"stage": "micro-batch", "schema": 1, "of": key.digest})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__
