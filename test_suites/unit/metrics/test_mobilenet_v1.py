"""MobileNet against NumPy and SciPy: TensorFlow's one-sided padding, constants, names of layers, sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor, nn

from iqa_robustness.metrics.mobilenet_v1 import BLOCKS, MobileNetV1


@pytest.fixture(scope="module")
def network(randomised: Callable[..., nn.Module]) -> MobileNetV1:
    made = randomised(MobileNetV1, gain=1.4)
    assert isinstance(made, MobileNetV1)
    return made


def signed(count: int, height: int, width: int) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(height)) * 2 - 1


def padded_same(plane: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's rule: as many zeros as ⌈side / stride⌉ outputs need, the smaller half before."""
    amounts = []
    for side in plane.shape:
        needed = max((-(-side // stride) - 1) * stride + 3 - side, 0)
        amounts.append((needed // 2, needed - needed // 2))
    return np.pad(plane, amounts)


def normalised(values: np.ndarray, layer: nn.BatchNorm2d) -> np.ndarray:
    """Batch normalisation with Keras' 0.001, then ReLU6; (C, H, W)."""
    mean, variance, scale, shift = (
        part.double().numpy()[:, None, None]
        for part in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return np.clip((values - mean) / np.sqrt(variance + 0.001) * scale + shift, 0, 6)


def reference(network: MobileNetV1, image: np.ndarray, *, blocks: int) -> np.ndarray:
    """(3, H, W) to the activations after so many blocks."""
    layers = dict(network.named_children())
    kernels = layers["conv1"].weight.double().numpy()
    planes = [padded_same(plane, 2) for plane in image]
    features = np.stack(
        [sum(correlate2d(p, k, "valid") for p, k in zip(planes, kernel, strict=True)) for kernel in kernels]
    )
    features = normalised(features[:, ::2, ::2], layers["conv1_bn"])
    for number, (_, stride) in enumerate(BLOCKS[:blocks], start=1):
        kernels = layers[f"conv_dw_{number}"].weight.double().numpy()[:, 0]
        pairs = zip(features, kernels, strict=True)
        features = np.stack([correlate2d(padded_same(p, stride), k, "valid")[::stride, ::stride] for p, k in pairs])
        features = normalised(features, layers[f"conv_dw_{number}_bn"])
        matrix = layers[f"conv_pw_{number}"].weight.double().numpy()[:, :, 0, 0]
        features = normalised(np.einsum("oc,chw->ohw", matrix, features), layers[f"conv_pw_{number}_bn"])
    return features


def activations(network: MobileNetV1, images: Tensor, *, after: str) -> Tensor:
    """What the named layer returns, ReLU6 applied."""
    seen: list[Tensor] = []
    hook = dict(network.named_children())[after].register_forward_hook(lambda _, __, result: seen.append(result))
    network(images)
    hook.remove()
    return seen[0].clamp(0, 6)


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (15, 21)])
@pytest.mark.parametrize("blocks", [0, 2, 4])
def test_layers_equal_scipy(network: MobileNetV1, size: tuple[int, int], blocks: int) -> None:
    """Even sides are padded at the end, odd ones on both; three layers of stride 2 within four blocks."""
    images = signed(1, *size)
    found = activations(network, images, after=f"conv_pw_{blocks}_bn" if blocks else "conv1_bn")
    expected = reference(network, images[0].double().numpy(), blocks=blocks)
    assert found[0].numpy() == pytest.approx(expected, abs=1e-4)


def test_the_result_is_the_mean_of_the_last_activations(network: MobileNetV1) -> None:
    images = signed(1, 64, 64)
    expected = reference(network, images[0].double().numpy(), blocks=13)
    assert expected.shape == (1024, 2, 2)
    assert network(images)[0].numpy() == pytest.approx(expected.mean(axis=(1, 2)), abs=1e-3)


def test_padding_both_sides_samples_the_other_pixels(network: MobileNetV1) -> None:
    """A point on an even row is in the middle of a kernel then, and at its border otherwise."""
    both = MobileNetV1(both_sides=True).eval().requires_grad_(False)
    both.load_state_dict(network.state_dict())
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, 4, 4] = 1
    flat = torch.zeros(1, 3, 8, 8)
    touched = []
    for each in (network, both):
        change = activations(each, images, after="conv1_bn") - activations(each, flat, after="conv1_bn")
        touched.append({tuple(spot) for spot in change[0].abs().sum(dim=0).nonzero().tolist()})
    assert touched == [{(1, 1), (1, 2), (2, 1), (2, 2)}, {(2, 2)}]
    assert both(images).shape == (1, 1024)


def test_layers_are_called_as_in_keras() -> None:
    names = [name for name, _ in MobileNetV1().named_children()]
    assert names[:4] == ["conv1", "conv1_bn", "conv_dw_1", "conv_dw_1_bn"]
    assert names[-2:] == ["conv_pw_13", "conv_pw_13_bn"]
    assert len(names) == 2 + 13 * 4


def test_it_has_as_many_parameters_as_published() -> None:
    """3,228,864 with the moving statistics, as Keras counts MobileNet 1.0 without its top."""
    state = MobileNetV1().state_dict()
    counted = sum(value.numel() for name, value in state.items() if not name.endswith("num_batches_tracked"))
    assert counted == 3_228_864
    assert [tuple(state[f"conv_pw_{k}.weight"].shape[:2]) for k in (1, 2, 12, 13)] == [
        (64, 32),
        (128, 64),
        (1024, 512),
        (1024, 1024),
    ]
