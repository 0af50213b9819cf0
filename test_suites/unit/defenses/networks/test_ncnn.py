"""ncnn's files: weights of 16 and 32 bits in the file's order, and nothing left unread or guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from iqa_robustness.defenses.purification.networks.ncnn import read_layers, state_in_order
from iqa_robustness.defenses.purification.networks.srvgg import SRVGGNetCompact
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.weights import entry_of

ENTRY = entry_of("realesrgan")
HALF = (0x01306B47).to_bytes(4, "little")


def stored(values: np.ndarray, *, half: bool) -> bytes:
    """An array of weights as ncnn's tools write it."""
    if not half:
        return bytes(4) + values.astype("<f4").tobytes()
    data = values.astype("<f2").tobytes()
    return HALF + data + bytes(-len(data) % 4)


def convolution(name: str, weights: np.ndarray, biases: np.ndarray | None, *, half: bool = True) -> tuple[str, bytes]:
    outputs, _, height, width = weights.shape
    square = "" if height == width else f" 11={height}"
    line = f"Convolution {name} 1 1 a b 0={outputs} 1={width}{square} 4=1 5={int(biases is not None)} 6={weights.size}"
    return line, stored(weights, half=half) + (b"" if biases is None else biases.astype("<f4").tobytes())


def written(folder: Path, layers: Sequence[tuple[str, bytes]], *, announced: int | None = None) -> Path:
    param = folder / "model.param"
    count = len(layers) if announced is None else announced
    param.write_text("\n".join(["7767517", f"{count} {count + 1}", *(line for line, _ in layers)]) + "\n")
    (folder / "model.bin").write_bytes(b"".join(data for _, data in layers))
    return param


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Exact in 16 bits."""
    return np.random.default_rng(seed).integers(-512, 512, shape) / np.float32(256)


PLAIN = ("Input data 0 1 data", b"")
FIRST = convolution("one", numbers(4, 3, 3, 3), numbers(4, seed=1))
SLOPES = ("PReLU two 1 1 b c 0=4", numbers(4, seed=2).astype("<f4").tobytes())


# --- reading ----------------------------------------------------------------------------------------------------------


def test_layers_come_in_order_with_their_weights(tmp_path: Path) -> None:
    last = convolution("three", numbers(2, 4, 1, 5, seed=3), None, half=False)
    layers = read_layers(written(tmp_path, [PLAIN, FIRST, SLOPES, last]), entry=ENTRY)
    assert [(layer.kind, layer.name) for layer in layers] == [
        ("Input", "data"),
        ("Convolution", "one"),
        ("PReLU", "two"),
        ("Convolution", "three"),
    ]
    assert [[tuple(array.shape) for array in layer.arrays] for layer in layers] == [
        [],
        [(4, 3, 3, 3), (4,)],
        [(4,)],
        [(2, 4, 1, 5)],
    ]
    found = [array for layer in layers for array in layer.arrays]
    expected = [numbers(4, 3, 3, 3), numbers(4, seed=1), numbers(4, seed=2), numbers(2, 4, 1, 5, seed=3)]
    for array, values in zip(found, expected, strict=True):
        assert array.dtype == torch.float32
        assert np.array_equal(array.numpy(), values)
    assert layers[1].parameters[0] == "4"


@given(outputs=st.integers(1, 5), inputs=st.integers(1, 5), side=st.sampled_from([1, 3]), half=st.booleans())
def test_whatever_the_sizes_the_next_layer_begins_where_it_should(
    tmp_path_factory: pytest.TempPathFactory, outputs: int, inputs: int, side: int, half: bool
) -> None:
    """Weights of 16 bits are filled up to four bytes."""
    weights = numbers(outputs, inputs, side, side, seed=outputs)
    one, two = (convolution(name, weights, numbers(outputs), half=half) for name in "ab")
    param = written(tmp_path_factory.mktemp("model"), [one, two])
    for layer in read_layers(param, entry=ENTRY):
        assert np.array_equal(layer.arrays[0].numpy(), weights)
        assert np.array_equal(layer.arrays[1].numpy(), numbers(outputs))


def test_parameters_with_lists_are_no_obstacle(tmp_path: Path) -> None:
    line, data = FIRST
    (layer,) = read_layers(written(tmp_path, [(line + " 9=2 -23310=1,2.000000e-01", data)]), entry=ENTRY)
    assert layer.parameters[-23310] == "1,2.000000e-01"


# --- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda param: param.write_text("hello\n1 2\n"), "begins with 'hello'"),
        (lambda param: param.write_text(""), "begins with ''"),
        (lambda param: param.write_bytes(bytes(range(256))), "no ncnn model"),
        (lambda param: param.with_suffix(".bin").unlink(), r"model\.bin"),
        (lambda param: shortened(param, 6), "ends after"),
        (lambda param: shortened(param, -4), "the layers take"),
        (lambda param: param.with_suffix(".bin").write_bytes(b"\x38\x4b\x0d\x00" + bytes(500)), "stored as 0xd4b38"),
        (lambda param: param.write_text(param.read_text().replace("PReLU", "InnerProduct")), "is a InnerProduct"),
        (lambda param: param.write_text(param.read_text().replace("\n3 4\n", "\n7 4\n")), "3 layers and announces 7"),
        (lambda param: param.write_text(param.read_text().replace(" 6=108", "")), "no ncnn model"),
        (lambda param: param.write_text(param.read_text().replace(" 6=108", " 6=107")), "no ncnn model"),
        (lambda param: param.write_text(param.read_text().replace("one 1 1", "one x y")), "no ncnn model"),
    ],
)
def test_what_is_no_such_model_is_refused_with_the_reason(
    tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    param = written(tmp_path, [PLAIN, FIRST, SLOPES])
    read_layers(param, entry=ENTRY)
    spoil(param)
    with pytest.raises(WeightsError, match=message) as raised:
        read_layers(param, entry=ENTRY)
    assert raised.value.where.file == str(param)
    assert raised.value.where.defense == "realesrgan"
    assert ENTRY.origin in raised.value.fix


def shortened(param: Path, count: int) -> None:
    data = param.with_suffix(".bin")
    content = data.read_bytes()
    data.write_bytes(content[:-count] if count > 0 else content + bytes(-count))


# --- into a network ---------------------------------------------------------------------------------------------------


def test_arrays_in_order_are_the_networks_state(tmp_path: Path, filled: Callable[..., Any]) -> None:
    network = filled(lambda: SRVGGNetCompact(convolutions=2))
    layers: list[tuple[str, bytes]] = [PLAIN]
    for name, layer in network.body.named_children():
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(layer.weight.half())  # 16 bits keep them
            layers.append(convolution(name, layer.weight.numpy(), layer.bias.numpy()))
        else:
            layers.append((f"PReLU {name} 1 1 a b 0={layer.weight.numel()}", layer.weight.numpy().tobytes()))
    param = written(tmp_path, layers)
    other = SRVGGNetCompact(convolutions=2)
    state = state_in_order(read_layers(param, entry=ENTRY), other, entry=ENTRY, path=param)
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in other.state_dict().items())


def test_a_model_with_other_layers_is_refused(tmp_path: Path) -> None:
    param = written(tmp_path, [PLAIN, FIRST, SLOPES])
    with pytest.raises(WeightsError, match=r"holds 3 arrays, the network of .* 8"):
        state_in_order(read_layers(param, entry=ENTRY), SRVGGNetCompact(convolutions=1), entry=ENTRY, path=param)
