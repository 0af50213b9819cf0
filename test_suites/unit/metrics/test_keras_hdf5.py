"""Keras' HDF5 files: groups, names and orders of axes; what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.keras_hdf5 import read_layers, torch_state

KERNEL = np.random.default_rng(3).normal(size=(3, 3, 2, 4))
LAYERS = {
    "input_1": {},
    "stem": {"kernel": KERNEL.astype(np.float32)},
    "stem_bn": {
        name: np.full(4, k, np.float32) for k, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))
    },
}
Layers = Mapping[str, Mapping[str, np.ndarray]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes layers as Keras 2 does; names as bytes (h5py 2) or as text."""
    h5py = pytest.importorskip("h5py")

    def write(layers: Layers = LAYERS, *, group: str = "", text: bool = False) -> Path:
        def stored(names: list[str]) -> list[str] | list[bytes]:
            return names if text else [name.encode() for name in names]

        with h5py.File(tmp_path / "weights.h5", "w") as file:
            root = file.create_group(group) if group else file
            root.attrs["layer_names"] = stored([*layers])
            for layer, arrays in layers.items():
                names = [f"{layer}/{name}:0" for name in arrays]
                root.create_group(layer).attrs["weight_names"] = stored(names)
                for name, array in zip(names, arrays.values(), strict=True):
                    root[layer].create_dataset(name, data=array)
        return tmp_path / "weights.h5"

    return write


@pytest.mark.parametrize("group", ["", "model_weights"], ids=["save_weights", "save"])
@pytest.mark.parametrize("text", [False, True])
def test_what_keras_saves_is_read(write: Callable[..., Path], group: str, text: bool) -> None:
    found = read_layers(write(group=group, text=text), metric="nima")
    assert [*found] == ["stem", "stem_bn"], "in order, without layers that have no weights"
    assert np.array_equal(found["stem"]["kernel"], LAYERS["stem"]["kernel"])
    assert {name: float(values[0]) for name, values in found["stem_bn"].items()} == {
        "gamma": 0,
        "beta": 1,
        "moving_mean": 2,
        "moving_variance": 3,
    }


def test_weights_within_nested_scopes_are_called_by_their_last_part(write: Callable[..., Path]) -> None:
    found = read_layers(write({"block": {"inner/kernel": KERNEL}}), metric="nima")
    assert [*found["block"]] == ["kernel"]


def test_axes_are_those_of_torch() -> None:
    """One output of each kind of layer, computed in Keras' order of axes."""
    random = np.random.default_rng(3)
    kernel, depthwise, matrix = (random.normal(size=shape) for shape in ((3, 3, 2, 4), (3, 3, 2, 1), (5, 6)))
    state = torch_state(
        {"c": {"kernel": kernel}, "d": {"depthwise_kernel": depthwise}, "m": {"kernel": matrix, "bias": matrix[0]}}
    )
    patch = random.normal(size=(3, 3, 2))
    tensor = torch.from_numpy(patch).float().permute(2, 0, 1)[None]
    convolved = nn.functional.conv2d(tensor, state["c.weight"]).flatten()
    assert convolved.numpy() == pytest.approx(np.einsum("hwc,hwco->o", patch, kernel), abs=1e-5)
    separate = nn.functional.conv2d(tensor, state["d.weight"], groups=2).flatten()
    assert separate.numpy() == pytest.approx(np.einsum("hwc,hwc->c", patch, depthwise[..., 0]), abs=1e-5)
    dense = nn.functional.linear(torch.ones(5), state["m.weight"], state["m.bias"])
    assert dense.numpy() == pytest.approx(matrix.sum(axis=0) + matrix[0], abs=1e-5)


def test_normalisation_goes_under_torchs_names() -> None:
    state = torch_state({"stem_bn": LAYERS["stem_bn"]})
    assert {name: float(value[0]) for name, value in state.items()} == {
        "stem_bn.weight": 0,
        "stem_bn.bias": 1,
        "stem_bn.running_mean": 2,
        "stem_bn.running_var": 3,
    }


def test_an_unknown_weight_keeps_its_name() -> None:
    state = torch_state({"lstm": {"recurrent_kernel": np.ones((2, 3))}})
    assert {name: tuple(value.shape) for name, value in state.items()} == {"lstm.recurrent_kernel": (2, 3)}


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "weights.hdf5").write_bytes(content)
    with pytest.raises(WeightsError, match="no weights as Keras 2 saves them") as raised:
        read_layers(tmp_path / "weights.hdf5", metric="nima")
    assert raised.value.where.file == str(tmp_path / "weights.hdf5")


def test_an_hdf5_of_something_else_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as other:
        other.create_dataset("images", data=np.zeros(3))
    with pytest.raises(WeightsError, match="layer_names"):
        read_layers(tmp_path / "data.h5", metric="nima")


def test_a_listed_layer_that_is_missing_is_refused(write: Callable[..., Path]) -> None:
    path = write()
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "a") as file:
        del file["stem_bn"]
    with pytest.raises(WeightsError, match="stem_bn") as raised:
        read_layers(path, metric="nima")
    assert raised.value.where.metric == "nima"
    assert raised.value.fix
