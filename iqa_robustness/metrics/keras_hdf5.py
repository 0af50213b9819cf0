"""Weights as Keras 2 keeps them: HDF5 files of layers, read without Keras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, WeightsError, Where

FIX = "pip install 'iqa-robustness[keras]'"
# Keras' name of a weight, torch's, and the order of axes that torch keeps it in, where it has several.
_NAMES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_AXES = {("kernel", 4): (3, 2, 0, 1), ("depthwise_kernel", 4): (2, 3, 0, 1), ("kernel", 2): (1, 0)}


def read_layers(path: Path, *, metric: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every layer that has some: layer, then weight (`kernel`, `gamma` …), in the model's order.

    Reads what `Model.save_weights` writes, and the weights within what `Model.save` writes.

    Raises:
        ConfigurationError: h5py is not installed.
        WeightsError: no HDF5 file, or not laid out as Keras does.
    """
    where = Where(metric=metric, file=str(path))
    try:
        import h5py
    except ImportError as error:
        raise ConfigurationError(
            f"metric {metric!r} reads an HDF5 file, for which h5py is needed: {error}", where=where, fix=FIX
        ) from error
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            layers = {layer: _arrays(group[layer]) for layer in _texts(group.attrs["layer_names"])}
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path.name} holds no weights as Keras 2 saves them: {error}",
            where=where,
            fix="give the file as its authors published it",
        ) from error
    return {layer: arrays for layer, arrays in layers.items() if arrays}


def torch_state(layers: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    """Tensors under torch's names and in torch's order of axes: `conv1.weight` (out, in, rows, columns) and so on.

    A weight that is unknown here keeps its name and its axes.
    """
    state = {}
    for layer, arrays in layers.items():
        for name, array in arrays.items():
            axes = _AXES.get((name, array.ndim), range(array.ndim))
            values = np.ascontiguousarray(array.transpose(*axes), dtype=np.float32)
            state[f"{layer}.{_NAMES.get(name, name)}"] = torch.from_numpy(values)
    return state


def _arrays(layer: Any) -> dict[str, np.ndarray]:
    # A name is `conv1/kernel:0`; the part after the last slash, without the tensor's number, says what it is.
    names = _texts(layer.attrs["weight_names"])
    return {name.rpartition("/")[2].partition(":")[0]: np.array(layer[name]) for name in names}


def _texts(names: Iterable[Any]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
