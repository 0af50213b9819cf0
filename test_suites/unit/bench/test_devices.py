"""Devices: what is accepted, what is set for repeatability, and what enters a key."""

from __future__ import annotations

import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch

from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.errors import ConfigurationError, ExitCode


@pytest.fixture(autouse=True)
def _settings_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.set_num_threads(threads)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_memory_that_is_freed_is_used_again_without_page_faults() -> None:
    code = """
import resource, torch
from iqa_robustness.bench.devices import prepared_device
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.zeros(10_000_000) for _ in range(3)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.set_num_threads(1)
first = faults()
prepared_device("cpu")
faults()
print(first, faults())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    before, after = map(int, done.stdout.split())
    assert before > 10_000  # 40 MB are more than glibc keeps by itself
    assert after < before / 100


# --- choosing -------------------------------------------------------------------------------------------------------


def test_the_cpu_is_prepared_for_repeatable_numbers() -> None:
    torch.set_num_threads(2)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepared_device("cpu") == "cpu"
    assert torch.get_num_threads() == 1
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_sums_are_equal_to_the_last_bit_after_preparation() -> None:
    values = torch.rand(3, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(1)
    expected = torch.nn.functional.conv2d(values, values[:1].repeat(4, 1, 1, 1)[:, :, :3, :3]).sum().item()
    torch.set_num_threads(2)
    prepared_device("cpu")
    assert torch.nn.functional.conv2d(values, values[:1].repeat(4, 1, 1, 1)[:, :, :3, :3]).sum().item() == expected


def test_auto_is_cuda_where_there_is_one_and_the_cpu_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(torch, "zeros", lambda *_, device: made.append(str(device)) or torch.tensor([0.0]))
    for available, chosen in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert prepared_device("auto") == chosen
    assert made == ["cpu", "cuda"]


# --- refusing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu cuda"])
def test_what_torch_does_not_know_is_no_device(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--iqa-device '{name}' is no device") as caught:
        prepared_device(name)
    assert caught.value.fix == "write auto, cpu or cuda:0"
    assert caught.value.exit_code == ExitCode.CONFIGURATION


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="no CUDA device is available here") as caught:
        prepared_device(name)
    assert caught.value.fix == "use --iqa-device cpu"


def test_messages_name_the_option_that_gave_the_device() -> None:
    with pytest.raises(ConfigurationError, match=r"^--device 'gpu' is no device"):
        prepared_device("gpu", option="--device")
    with pytest.raises(ConfigurationError, match=r"^--device 'meta' cannot compute here") as caught:
        prepared_device("meta", option="--device")
    assert caught.value.fix == "use --device cpu"


def test_a_device_that_holds_no_numbers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--iqa-device 'meta' cannot compute here"):
        prepared_device("meta")


def test_a_device_number_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, device: torch.device) -> torch.Tensor:
        raise RuntimeError(f"CUDA error: invalid device ordinal {device.index}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", missing)
    with pytest.raises(ConfigurationError, match=r"'cuda:9' cannot compute here: .*ordinal 9") as caught:
        prepared_device("cuda:9")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_refusal_changes_no_settings() -> None:
    torch.set_num_threads(2)
    torch.backends.cudnn.benchmark = True
    with pytest.raises(ConfigurationError):
        prepared_device("meta")
    assert torch.get_num_threads() == 2
    assert torch.backends.cudnn.benchmark


# --- the key --------------------------------------------------------------------------------------------------------


def test_a_key_knows_type_dtype_version_and_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu126")
    assert Numerics(device="cuda:1", micro_batch=4).document == {
        "device": "cuda",
        "dtype": "float32",
        "torch": "2.13.0",
        "micro_batch": 4,
    }


def test_the_number_of_a_device_and_the_build_of_torch_do_not_split_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = []
    for version, device in (("2.13.0+cpu", "cuda:0"), ("2.13.0", "cuda:3")):
        monkeypatch.setattr(torch, "__version__", version)
        documents.append(Numerics(device=device, micro_batch=4).document)
    assert documents[0] == documents[1]
    assert Numerics(device="cpu", micro_batch=4).document != documents[0]
    assert Numerics(device="cuda", micro_batch=8).document != documents[0]
