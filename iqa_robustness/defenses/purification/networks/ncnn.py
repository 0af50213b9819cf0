"""ncnn models: the weights in a .param and .bin pair, read without ncnn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.weights import WeightsEntry

MAGIC = "7767517"
# In front of every array of weights: how its numbers are stored. Biases and slopes have none, they are float32.
FLOAT32, FLOAT16 = 0, 0x01306B47
# What a Real-ESRGAN model consists of beside convolutions and PReLUs; none of these has weights.
WITHOUT_WEIGHTS = ("Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle", "ReLU")
# Numbers of a convolution's and a PReLU's parameters in a .param file.
OUTPUTS, WIDTH, HEIGHT, BIAS, WEIGHTS = 0, 1, 11, 5, 6
SLOPES = 0

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of a .param file with its part of the .bin file.

    kind: `Convolution`, `PReLU` …      name: the converter's.
    parameters: by number, as written.  arrays: convolution: weights (out, in, h, w), bias (out,); PReLU: slopes.
    """

    kind: str
    name: str
    parameters: Mapping[int, str]
    arrays: tuple[Tensor, ...] = ()


def read_layers(param: Path, *, entry: WeightsEntry) -> list[Layer]:
    """All layers of a model in the file's order, weights as float32.

    Args:
        param: the .param file; the .bin file lies beside it under the same name.
        entry: the published file that it stands for, for messages.

    Raises:
        WeightsError: a file is missing or unreadable, is no such file, has a layer that is not read here, or the .bin
            file holds less or more than the .param file describes.
    """
    where = entry.where(param)
    fix = f"give the .param and .bin files of one model, or {entry.file} from {entry.origin}"
    try:
        lines = param.read_text(encoding="ascii").split("\n")
        data = _Data(param.with_suffix(".bin").read_bytes())
        if lines[0].strip() != MAGIC:
            raise ValueError(f"it begins with {lines[0][:20]!r}, not with {MAGIC}")
        layers = [_layer(line.split(), data) for line in lines[2:] if line.strip()]
        if len(layers) != int(lines[1].split()[0]):
            raise ValueError(f"it has {len(layers)} layers and announces {lines[1].split()[0]}")
        if data.place != len(data.content):
            raise ValueError(f"the .bin file has {len(data.content)} bytes, the layers take {data.place}")
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise WeightsError(f"{param.name} is no ncnn model of this kind: {error}", where=where, fix=fix) from error
    return layers


def state_in_order(layers: list[Layer], network: nn.Module, *, entry: WeightsEntry, path: Path) -> dict[str, Tensor]:
    """The arrays under the network's names, matched by their order, which converters keep.

    Raises:
        WeightsError: the network has more or fewer arrays; of their shapes says `load_strictly`.
    """
    arrays = [array for layer in layers for array in layer.arrays]
    names = [*network.state_dict()]
    if len(arrays) != len(names):
        raise WeightsError(
            f"{path.name} holds {len(arrays)} arrays, the network of {entry.file} {len(names)}",
            where=entry.where(path),
            fix="give the files of the model that is asked for",
        )
    return dict(zip(names, arrays, strict=True))


def _layer(words: list[str], data: _Data) -> Layer:
    kind, name, inputs, outputs = words[0], words[1], int(words[2]), int(words[3])
    pairs = (word.split("=", 1) for word in words[4 + inputs + outputs :])
    parameters = {int(number): value for number, value in pairs}
    arrays: tuple[Tensor, ...] = ()
    if kind == "Convolution":
        arrays = _convolution(parameters, data)
    elif kind == "PReLU":
        arrays = (data.floats(int(parameters[SLOPES])),)
    elif kind not in WITHOUT_WEIGHTS:
        raise ValueError(f"its layer {name} is a {kind}, which is not read here")
    return Layer(kind=kind, name=name, parameters=parameters, arrays=arrays)


def _convolution(parameters: Mapping[int, str], data: _Data) -> tuple[Tensor, ...]:
    outputs, width, size = (int(parameters[number]) for number in (OUTPUTS, WIDTH, WEIGHTS))
    weights = data.flagged(size).reshape(outputs, -1, int(parameters.get(HEIGHT, width)), width)
    return (
        (torch.from_numpy(weights), data.floats(outputs))
        if int(parameters.get(BIAS, 0))
        else (torch.from_numpy(weights),)
    )


class _Data:
    """The .bin file, read from front to back."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def flagged(self, count: int) -> Numbers:
        """Numbers with a flag before them; halves are filled up to a multiple of four bytes."""
        flag = int(self._take(1, "<u4")[0])
        if flag == FLOAT16:
            numbers = self._take(count, "<f2")
            self.place += -self.place % 4
        elif flag == FLOAT32:
            numbers = self._take(count, "<f4")
        else:
            raise ValueError(f"weights are stored as {flag:#x}; float32 and float16 are read here")
        return numbers.astype(np.float32)

    def floats(self, count: int) -> Tensor:
        """Numbers without a flag."""
        return torch.from_numpy(self._take(count, "<f4").astype(np.float32))

    def _take(self, count: int, kind: str) -> Numbers:
        size = count * np.dtype(kind).itemsize
        if self.place + size > len(self.content):
            raise ValueError(f"the .bin file ends after {len(self.content)} bytes, within a layer's weights")
        numbers = np.frombuffer(self.content, kind, count, self.place)
        self.place += size
        return numbers
