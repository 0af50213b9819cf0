"""MatConvNet's .mat files, of MATLAB 5 and 7.3: the same weights from either, and refusals by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import Tensor

from iqa_robustness.defenses.purification.networks.dncnn import chain
from iqa_robustness.defenses.purification.networks.matconvnet import read_chain
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics.weights import entry_of

ENTRY = entry_of("ffdnet")
# In MATLAB's order of axes: rows, columns, in, out.
FILTERS = [
    np.random.default_rng(k).normal(size=shape) for k, shape in enumerate([(3, 3, 4, 5), (3, 3, 5, 5), (3, 3, 5, 2)])
]
BIASES = [np.random.default_rng(9 + k).normal(size=size) for k, size in enumerate([5, 5, 2])]
CHAIN = ("SubP", "concat", "conv", "relu", "conv", "relu", "conv", "SubP")


def layers(kinds: Sequence[str] = CHAIN) -> list[dict[str, Any]]:
    weights = iter(zip(FILTERS, BIASES, strict=True))
    made = []
    for kind in kinds:
        cell = np.empty((1, 2), dtype=object)
        cell[0, :] = next(weights) if kind == "conv" else (np.empty((0, 0)), np.empty((0, 0)))
        made.append({"type": kind, "weights": cell, "precious": False})
    return made


def mat5(path: Path, kinds: Sequence[str] = CHAIN) -> Path:
    cell = np.empty((1, len(kinds)), dtype=object)
    cell[0, :] = layers(kinds)
    savemat(path, {"net": {"layers": cell}})
    return path


def mat73(path: Path, kinds: Sequence[str] = CHAIN) -> Path:
    """As MATLAB writes it: a header of its own, then HDF5 with axes from the other end and cells as references."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        cell = file.create_dataset("net/layers", (len(kinds), 1), dtype=h5py.ref_dtype)
        for number, layer in enumerate(layers(kinds)):
            group = references.create_group(f"l{number}")
            group["type"] = np.array([[ord(letter)] for letter in layer["type"]], dtype=np.uint16)
            if layer["type"] != "conv":
                group["weights"] = np.zeros(2, np.uint64)
                continue
            parts = [np.asarray(part) for part in layer["weights"][0]]
            group.create_dataset("weights", (2, 1), dtype=h5py.ref_dtype)
            for place, part in enumerate(parts):
                references[f"w{number}-{place}"] = part.reshape(part.shape if part.ndim > 1 else (1, -1)[::1]).T
                group["weights"][place, 0] = references[f"w{number}-{place}"].ref
        cell[:, 0] = [references[f"l{number}"].ref for number in range(len(kinds))]
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(128))
    return path


WRITERS = pytest.mark.parametrize("write", [mat5, mat73])


@WRITERS
def test_convolutions_come_as_the_state_of_a_chain(write: Callable[..., Path], tmp_path: Path) -> None:
    state = read_chain(write(tmp_path / "net.mat"), entry=ENTRY)
    network = chain(4, 2, width=5, depth=3)
    network.load_state_dict(state, strict=True)
    for number, (filters, biases) in enumerate(zip(FILTERS, BIASES, strict=True)):
        assert np.allclose(state[f"{2 * number}.weight"].numpy(), np.moveaxis(filters, (3, 2), (0, 1)))
        assert np.allclose(state[f"{2 * number}.bias"].numpy(), biases)
        assert state[f"{2 * number}.weight"].dtype == torch.float32


@WRITERS
def test_axes_of_length_one_that_matlab_drops_are_put_back(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = np.arange(18.0).reshape(3, 3, 2)
    monkeypatch.setattr(sys.modules[__name__], "FILTERS", [kernel])
    monkeypatch.setattr(sys.modules[__name__], "BIASES", [np.ones(1)])
    state = read_chain(write(tmp_path / "net.mat", ["conv"]), entry=ENTRY)
    assert state["0.weight"].shape == (1, 2, 3, 3)
    assert np.array_equal(state["0.weight"][0, 1].numpy(), kernel[:, :, 1])


@WRITERS
@pytest.mark.parametrize(
    ("kinds", "message"), [(["conv", "bnorm", "pool"], "bnorm, pool"), (["relu"], "without weights")]
)
def test_other_networks_are_refused(write: Callable[..., Path], kinds: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        read_chain(write(tmp_path / "net.mat", kinds), entry=ENTRY)
    assert raised.value.where.defense == "ffdnet"


def other_variable(path: Path) -> Path:
    savemat(path, {"other": np.ones(3)})
    return path


def cut(path: Path) -> Path:
    mat73(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    "write",
    [
        other_variable,
        cut,
        lambda path: (path.touch(), path)[1],
        lambda path: path.write_bytes(b"<html>quota exceeded</html>") and path,
        pytest.param(
            lambda path: path.write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(99)) and path,
            marks=pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is not installed"),
        ),
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(4000)) and path,
    ],
)
def test_bytes_that_are_no_network_are_refused_with_the_origin(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "net.mat")
    with pytest.raises(WeightsError, match="holds no simplenn network") as raised:
        read_chain(path, entry=ENTRY)
    assert raised.value.where.file == str(path)
    assert ENTRY.origin in raised.value.fix


def test_without_h5py_a_file_of_matlab_7_3_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old = mat73(tmp_path / "net.mat"), mat5(tmp_path / "old.mat")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigurationError, match="h5py is needed") as raised:
        read_chain(path, entry=ENTRY)
    assert "iqa-robustness[matlab]" in raised.value.fix
    found: dict[str, Tensor] = read_chain(old, entry=ENTRY)
    assert len(found) == 6
