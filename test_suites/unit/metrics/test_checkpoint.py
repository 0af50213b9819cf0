"""Checkpoints: every usual container opens, nothing is ever executed, and what does not fit is named."""

from __future__ import annotations

import collections
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics import checkpoint
from iqa_robustness.metrics.checkpoint import (
    CONTAINERS,
    PREFIXES,
    load_published,
    load_strictly,
    read_checkpoint,
    read_container,
    tensors_of,
)
from iqa_robustness.metrics.weights import WeightsEntry, entry_of, sha256_of

METRIC = "koncept"
ENTRY = entry_of(METRIC)


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ModuleDict({"inner": nn.Linear(2, 1)}))


@pytest.fixture
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return small().state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pkl", ".ckpt", ".bin", ""])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save_old_and_new(state: dict[str, Tensor], tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"file{suffix}"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(path, entry=ENTRY), state)


def test_safetensors(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file(state, path)
    assert equal(read_checkpoint(path, entry=ENTRY), state)


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_usual_containers_are_opened(state: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    path = tmp_path / "file.pth"
    torch.save({"epoch": 3, "lr": [1e-3, None], name: state, "optimizer": {"step": torch.ones(1)}}, path)
    assert equal(read_checkpoint(path, entry=ENTRY), state)


def test_containers_within_containers(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"args": "x", "model": {"version": 1, "state_dict": collections.OrderedDict(state)}}, path)
    assert equal(read_checkpoint(path, entry=ENTRY), state)


@pytest.mark.parametrize("prefix", [*PREFIXES, "module._orig_mod.", "module.module."])
def test_prefixes_of_wrappers_are_stripped(state: dict[str, Tensor], prefix: str) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    assert equal(tensors_of(wrapped, entry=ENTRY, path=Path("x.pth")), state)


def test_a_prefix_that_only_some_keys_have_is_part_of_their_names(state: dict[str, Tensor]) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert tensors_of(mixed, entry=ENTRY, path=Path("x.pth")).keys() == mixed.keys()


def test_numbers_of_numpy_beside_the_tensors_are_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save(
        {"model": state, "k": [np.float64(2.5), np.float32(1)], "b": np.array([1.0, 2.0]), "n": np.int64(7)}, path
    )
    content = read_container(path, entry=ENTRY)
    assert content["k"] == [2.5, 1]
    assert content["b"].tolist() == [1, 2]
    assert content["n"] == 7
    assert equal(tensors_of(content, entry=ENTRY, path=path), state)


@pytest.mark.parametrize("name", [b"numpy.core", b"numpy._core"], ids=["numpy 1", "numpy 2"])
def test_numbers_pickled_under_either_numpys_names_are_read(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"k": np.float64(2.5)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    content, count = re.subn(rb"cnumpy\._?core\.multiarray", b"c" + name + b".multiarray", content)
    assert count == 1
    path.write_bytes(content)
    assert read_container(path, entry=ENTRY) == {"k": 2.5}


# --- refusing ---------------------------------------------------------------------------------------------------------


class Trap:
    """Unpickled without restrictions, it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["alone", "beside the weights"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(
    state: dict[str, Tensor], tmp_path: Path, save: str, place: str
) -> None:
    path, target = tmp_path / "evil.pkl", tmp_path / "touched"
    content: Any = Trap(target) if place == "alone" else {"state_dict": state, "note": Trap(target)}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=save == "zip")
    with pytest.raises(WeightsError, match="nothing else is loaded") as raised:
        read_checkpoint(path, entry=ENTRY)
    assert raised.value.where.file == str(path)
    assert raised.value.where.metric == METRIC
    assert not target.exists()
    torch.load(path, weights_only=False) if save != "pickle" else pickle.loads(path.read_bytes())
    assert target.exists(), "the trap itself must work, or this test shows nothing"


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(small(), path)
    with pytest.raises(WeightsError, match="nothing else is loaded") as raised:
        read_checkpoint(path, entry=ENTRY)
    assert "state_dict" in raised.value.fix


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", b"PK\x03\x04broken", bytes(1000)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bytes_that_are_no_checkpoint(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        read_checkpoint(path, entry=ENTRY)
    assert raised.value.where.file == str(path)
    assert entry_of(METRIC).origin in raised.value.fix


def test_a_cut_download_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightsError):
        read_checkpoint(path, entry=ENTRY)


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(2), {"state_dict": {"a": 1}}, {1: torch.ones(1)}, "text"]
)
def test_plain_data_without_a_state_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no mapping from names to tensors"):
        read_checkpoint(path, entry=ENTRY)


@pytest.mark.parametrize("name", ["weights.npz", "weights.h5", "weights.zip"])
def test_other_formats_are_refused_by_their_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match="suffix") as raised:
        read_checkpoint(path, entry=ENTRY)
    assert ".safetensors" in raised.value.fix


def test_the_digest_is_compared_before_anything_is_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save(state, path)
    assert equal(read_checkpoint(path, entry=ENTRY, sha256=sha256_of(path)), state)
    path.write_bytes(b"junk that no reader would take")
    with pytest.raises(WeightsError, match=f"sha256 {sha256_of(path)}, {'0' * 64} is expected"):
        read_checkpoint(path, entry=ENTRY, sha256="0" * 64)


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_state_that_fits_is_loaded_whole(state: dict[str, Tensor]) -> None:
    network = small()
    load_strictly(network, state, entry=ENTRY, path=Path("x.pth"))
    assert equal(network.state_dict(), state)


def test_counters_of_batch_normalisation_may_be_absent(state: dict[str, Tensor]) -> None:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 1
    network = small()
    load_strictly(network, old, entry=ENTRY, path=Path("x.pth"))
    assert equal(network.state_dict(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "missing 0.bias$"),
        (lambda state: state.update(extra=torch.ones(1)), "unexpected extra$"),
        (
            lambda state: state.update({"0.weight": torch.ones(2, 4)}),
            r"misshapen 0.weight \(2, 4\) instead of \(2, 3\)$",
        ),
        (lambda state: (state.pop("2.inner.bias"), state.update(other=torch.ones(1))), "missing .*; unexpected other$"),
    ],
)
def test_what_does_not_fit_is_named(state: dict[str, Tensor], change: Any, message: str) -> None:
    change(state)
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError) as raised:
        load_strictly(network, state, entry=ENTRY, path=Path("mine.pth"))
    assert re.search(message, raised.value.what)
    assert raised.value.where.file == "mine.pth"
    assert equal(network.state_dict(), before)


def test_long_lists_of_keys_are_cut_short(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"missing 0.weight, 0.bias, 1.weight and 5 more"):
        load_strictly(small(), {}, entry=ENTRY, path=Path("x.pth"))


def test_load_published_finds_reads_loads_and_describes(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(tmp_path))
    path = tmp_path / entry_of(METRIC).file
    torch.save({"state_dict": state}, path)
    network, file = load_published(small, METRIC, None)
    assert equal(network.state_dict(), state)
    assert (file.name, file.sha256, file.origin) == (path.name, sha256_of(path), entry_of(METRIC).origin)


def test_the_manifests_digest_is_asked_of_its_own_file_only(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = WeightsEntry(metric=METRIC, file="KonCept512.pth", origin="https://example.org", sha256="0" * 64)
    monkeypatch.setattr(checkpoint, "entry_of", lambda metric: strict)
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(tmp_path))
    path = tmp_path / "KonCept512.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="sha256"):
        load_published(small, METRIC, None)
    assert load_published(small, METRIC, path)[1].sha256 == sha256_of(path)


def test_nothing_is_built_for_a_file_that_is_missing_or_unreadable(tmp_path: Path) -> None:
    def build() -> nn.Module:
        raise AssertionError("a large network was built for nothing")

    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"junk")
    for path in (junk, tmp_path / "gone.pth"):
        with pytest.raises(WeightsError):
            load_published(build, METRIC, path)
