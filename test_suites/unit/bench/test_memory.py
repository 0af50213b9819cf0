"""Which errors are of memory and which of a device that is lost, and what is remembered of the former."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iqa_robustness.bench.memory import (
    fitting_micro_batch,
    held_mebibytes,
    is_out_of_memory,
    is_sticky,
    release_memory,
    remember_micro_batch,
)
from iqa_robustness.errors import DeviceMemoryError, IqaRobustnessError
from iqa_robustness.store import Key, Store

MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]
LOST = [
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    type("AcceleratorError", (RuntimeError,), {})("unspecified launch failure"),
]
OTHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("Expected all tensors to be on the same device"),
    ValueError("CUDA error: said by somebody else"),
    KeyError("x"),
    IqaRobustnessError("what"),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_errors_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_sticky(error), "memory is freed, the device stays"


@pytest.mark.parametrize("error", LOST, ids=str)
def test_errors_that_lose_the_device(error: Exception) -> None:
    assert is_sticky(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not is_sticky(error)
    assert not is_out_of_memory(error)


def test_the_cause_of_an_error_of_ours_counts() -> None:
    wrapped = DeviceMemoryError("memory does not suffice")
    wrapped.__cause__ = MEMORY[0]
    assert is_out_of_memory(wrapped)
    failed = IqaRobustnessError("the metric failed")
    failed.__cause__ = LOST[0]
    assert is_sticky(failed)


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="an older torch")
def test_torchs_own_class_is_known() -> None:
    assert issubclass(torch.AcceleratorError, RuntimeError)
    assert torch.AcceleratorError.__name__ == "AcceleratorError"


def test_what_sufficed_is_found_again_under_the_whole_key_alone(tmp_path: Path) -> None:
    store, key = Store(tmp_path), Key({"cell": 1, "numerics": {"micro_batch": 8}})
    assert fitting_micro_batch(store, key) is None
    remember_micro_batch(store, key, 2)
    remember_micro_batch(store, key, 2)
    assert fitting_micro_batch(store, key) == 2
    assert fitting_micro_batch(store, Key({"cell": 2, "numerics": {"micro_batch": 8}})) is None
    assert store.get(key) is None, "the note is not the cell"


def test_on_a_cpu_the_machine_s_memory_is_noted_where_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    release_memory()
    monkeypatch.setattr("iqa_robustness.bench.memory.peak_mebibytes", lambda: 661.94)
    assert held_mebibytes("cpu") == {"resident_mebibytes": 661.9}
    monkeypatch.setattr("iqa_robustness.bench.memory.peak_mebibytes", lambda: None)
    assert held_mebibytes("cpu") == {}
