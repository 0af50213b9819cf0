"""MatConvNet's simplenn networks: chains of convolutions in .mat files, of MATLAB 5 or (HDF5) 7.3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics.weights import WeightsEntry

FIX = "pip install 'iqa-robustness[matlab]'"
# Layers without weights: sub-images (`SubP`) and the noise level (`concat`) are the network's own business.
KNOWN = ("conv", "relu", "concat", "SubP")
# Where MATLAB puts the signature of an HDF5 file, after a header of its own.
_HDF5 = (512, b"\x89HDF\r\n\x1a\n")


def read_chain(path: Path, *, entry: WeightsEntry) -> dict[str, Tensor]:
    """The weights of all convolutions as the state of `dncnn.chain`: `0.weight`, `0.bias`, `2.weight` …

    Args:
        path: a .mat file with a struct `net`, whose cell `layers` holds structs of type conv, relu, concat or SubP.
        entry: the published file that it is or stands for, for messages.

    Raises:
        ConfigurationError: h5py is needed and not installed.
        WeightsError: unreadable, laid out in another way, or with other layers.
    """
    where = entry.where(path)
    try:
        with path.open("rb") as file:
            file.seek(_HDF5[0])
            modern = file.read(len(_HDF5[1])) == _HDF5[1]
        layers = [*(_from_hdf5(path, entry) if modern else _from_mat5(path))]
        unknown = sorted({kind for kind, _ in layers} - {*KNOWN})
        if unknown or not any(arrays for _, arrays in layers):
            raise ValueError(f"its layers are {', '.join(unknown) or 'without weights'}")
    except ConfigurationError:
        raise
    except Exception as error:  # scipy's and h5py's readers fail in any way at all on unknown bytes
        raise WeightsError(
            f"{path.name} holds no simplenn network as MatConvNet saves it: {type(error).__name__}: {error}",
            where=where,
            fix=f"get {entry.file} again from {entry.origin}",
        ) from error
    state = {}
    for number, (filters, biases) in enumerate(arrays for _, arrays in layers if arrays):
        # (rows, columns, in, out), without trailing axes of length 1, as MATLAB drops them.
        whole = filters.reshape(*filters.shape, *[1] * (4 - filters.ndim))
        weight = np.ascontiguousarray(whole.transpose(3, 2, 0, 1), dtype=np.float32)
        state[f"{2 * number}.weight"] = torch.from_numpy(weight)
        state[f"{2 * number}.bias"] = torch.from_numpy(np.asarray(biases, np.float32).flatten())
    return state


def _from_mat5(path: Path) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    from scipy.io import loadmat

    layers = loadmat(path, simplify_cells=True)["net"]["layers"]
    for layer in [layers] if isinstance(layers, dict) else layers:
        kind = str(layer["type"])
        yield kind, tuple(np.asarray(part) for part in layer["weights"]) if kind == "conv" else ()


def _from_hdf5(path: Path, entry: WeightsEntry) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    try:
        import h5py
    except ImportError as error:
        raise ConfigurationError(
            f"{path.name} is a .mat file of MATLAB 7.3, for which h5py is needed: {error}",
            where=entry.where(path),
            fix=FIX,
        ) from error
    with h5py.File(path, "r") as file:
        for reference in file["net/layers"][()].flatten():
            layer: Any = file[reference]
            kind = "".join(map(chr, layer["type"][()].flatten()))
            # HDF5 counts axes from the other end than MATLAB.
            found = (file[part][()].T for part in layer["weights"][()].flatten()) if kind == "conv" else ()
            yield kind, tuple(found)
