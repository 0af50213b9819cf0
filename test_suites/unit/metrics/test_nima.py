"""`nima`: Keras' HDF5 layout written as Keras writes it, resizing as Pillow, the mean opinion; what is refused.

idealo's weights are not here; these are random ones in their layout, so scores mean nothing.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, ImageContractError, WeightsError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.keras_hdf5 import read_layers, torch_state
from iqa_robustness.metrics.nima import Nima, NimaNetwork, nearest
from iqa_robustness.metrics.weights import FOLDER_VARIABLE

Layers = Mapping[str, Mapping[str, np.ndarray]]


def keras_layers() -> dict[str, dict[str, np.ndarray]]:
    """Every layer of idealo's model in its order, also those without weights; arrays in Keras' order of axes."""
    random = np.random.default_rng(0)

    def spread(*shape: int, inputs: int) -> np.ndarray:
        return (random.normal(0, 1, shape) * (2 / inputs) ** 0.5).astype(np.float32)

    def normalisation(channels: int) -> dict[str, np.ndarray]:
        moments = {name: random.normal(0, 0.1, channels) for name in ("gamma", "beta", "moving_mean")}
        moments["gamma"] += 1
        moments["moving_variance"] = random.uniform(0.5, 1.5, channels)
        return {name: values.astype(np.float32) for name, values in moments.items()}

    layers: dict[str, dict[str, np.ndarray]] = {
        "input_1": {},
        "conv1": {"kernel": spread(3, 3, 3, 32, inputs=27)},
        "conv1_bn": normalisation(32),
        "conv1_relu": {},
    }
    channels = 32
    for block, outgoing in enumerate((64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024), start=1):
        layers[f"conv_dw_{block}"] = {"depthwise_kernel": spread(3, 3, channels, 1, inputs=9)}
        layers[f"conv_dw_{block}_bn"] = normalisation(channels)
        layers[f"conv_dw_{block}_relu"] = {}
        layers[f"conv_pw_{block}"] = {"kernel": spread(1, 1, channels, outgoing, inputs=channels)}
        layers[f"conv_pw_{block}_bn"] = normalisation(outgoing)
        channels = outgoing
    layers["global_average_pooling2d_1"] = {}
    layers["dropout_1"] = {}
    layers["dense_1"] = {"kernel": spread(1024, 10, inputs=100), "bias": spread(10, inputs=10)}
    return layers


@pytest.fixture(scope="module")
def layers() -> dict[str, dict[str, np.ndarray]]:
    return keras_layers()


@pytest.fixture(scope="module")
def write() -> Callable[..., Path]:
    """Writes layers as `save_weights` does (Keras 2), or into the group that `save` makes."""
    h5py = pytest.importorskip("h5py")

    def write(path: Path, layers: Layers, *, group: str = "") -> Path:
        with h5py.File(path, "w") as file:
            root = file.create_group(group) if group else file
            root.attrs["layer_names"] = [name.encode() for name in layers]
            root.attrs["backend"] = b"tensorflow"
            root.attrs["keras_version"] = b"2.1.5"
            for layer, arrays in layers.items():
                made = root.create_group(layer)
                names = [f"{layer}/{name}:0" for name in arrays]
                made.attrs["weight_names"] = [name.encode() for name in names]
                for name, array in zip(names, arrays.values(), strict=True):
                    made.create_dataset(name, data=array)
        return path

    return write


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path], layers: Layers) -> Path:
    return write(tmp_path_factory.mktemp("nima") / "weights_mobilenet_technical_0.11.hdf5", layers)


@pytest.fixture(scope="module")
def metric(file: Path) -> Nima:
    return Nima(file)


def pictures(count: int = 2, *, height: int = 60, width: int = 80) -> np.ndarray:
    random = np.random.default_rng(height)
    coarse = random.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(part).resize((width, height))) for part in coarse])


# --- the file -------------------------------------------------------------------------------------------------------


def test_layers_are_read_in_order_without_the_empty_ones(file: Path, layers: Layers) -> None:
    found = read_layers(file, metric="nima")
    assert [*found] == [name for name, arrays in layers.items() if arrays]
    for name, arrays in found.items():
        assert [*arrays] == [*layers[name]]
        assert all(np.array_equal(arrays[part], layers[name][part]) for part in arrays)


def test_the_dense_layer_may_have_any_name(
    metric: Nima, tmp_path: Path, write: Callable[..., Path], layers: Layers
) -> None:
    """Keras counts layers through a session; tf.keras begins with `dense`."""
    renamed = {name.replace("dense_1", "dense"): arrays for name, arrays in layers.items()}
    images = from_uint8(pictures(1))
    assert Nima(write(tmp_path / "renamed.hdf5", renamed))(images).equal(metric(images))


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigurationError, match="for which h5py is needed") as raised:
        metrics.create("nima", weights=tmp_path / "weights.hdf5")
    assert raised.value.where.metric == "nima"
    assert "iqa-robustness[keras]" in raised.value.fix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_1": {}}, "has 0 dense layers, NIMA has 1"),
        ({"dense_2": {"kernel": np.zeros((10, 1))}}, "has 2 dense layers"),
        ({"conv1": {}}, r"do not fit nima: missing base\.conv1\.weight"),
        ({"conv1": {"kernel": np.zeros((3, 3, 3, 16))}}, r"misshapen base\.conv1\.weight \(16, 3, 3, 3\)"),
        ({"conv_preds": {"kernel": np.zeros((1, 1, 4, 4))}}, r"unexpected base\.conv_preds\.weight"),
    ],
)
def test_another_network_is_refused(
    tmp_path: Path, write: Callable[..., Path], layers: Layers, change: Layers, message: str
) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        Nima(write(tmp_path / "other.hdf5", {**layers, **change}))
    assert raised.value.where.metric == "nima"


# --- the score ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(224, 224), (192, 256), (299, 299), (384, 512), (33, 448), (500, 225)])
def test_pixels_are_picked_as_pillow_picks_them(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.NEAREST))
    assert torch.equal(nearest(from_uint8(pixels[None]), 224), from_uint8(expected[None]))


def test_the_score_is_the_mean_opinion(metric: Nima, layers: Layers) -> None:
    """From the pixels that Pillow picks, in [−1, 1], through the network loaded by hand."""
    pixels = pictures()
    resized = np.stack(
        [np.asarray(Image.fromarray(part).resize((224, 224), Image.Resampling.NEAREST)) for part in pixels]
    )
    signed = torch.from_numpy(resized / 127.5 - 1).float().permute(0, 3, 1, 2)
    network = NimaNetwork().eval()
    tensors = torch_state({name.replace("dense_1", "dense"): arrays for name, arrays in layers.items()})
    state = {name if name.startswith("dense") else f"base.{name}": value for name, value in tensors.items()}
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        features = network.base(signed).double().numpy()
    logits = features @ layers["dense_1"]["kernel"] + layers["dense_1"]["bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = (shares / shares.sum(axis=1, keepdims=True)) @ np.arange(1, 11)
    scores = metric(from_uint8(pixels))
    assert scores.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert abs(float(scores[0] - scores[1])) > 1e-3
    assert all(1 <= score <= 10 for score in scores.tolist())


def test_paper_pads_as_the_network_was_trained(metric: Nima, file: Path) -> None:
    images = from_uint8(pictures())
    paper = Nima(file, paper=True)
    assert paper.network.base.both_sides
    assert not metric.network.base.both_sides
    assert not paper(images).equal(metric(images))
    assert paper.spec.version != metric.spec.version


def test_the_gradient_reaches_the_pixels_that_are_picked(metric: Nima) -> None:
    images = from_uint8(pictures(1, height=300, width=400)).requires_grad_()
    (gradient,) = torch.autograd.grad(metric(images).sum(), images)
    assert bool(torch.isfinite(gradient).all())
    picked = torch.zeros(1, 3, 300, 400, requires_grad=True)
    (reached,) = torch.autograd.grad(nearest(picked, 224).sum(), picked)
    assert float(((gradient != 0) & (reached == 0)).sum()) == 0
    assert float((gradient != 0)[reached != 0].float().mean()) > 0.95
    images = images.detach()
    for sign in (1, -1):
        moved = metric((images + sign / 255 * gradient.sign()).clamp(0, 1)) - metric(images)
        assert sign * float(moved) > 0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_have_a_finite_gradient(metric: Nima, value: float) -> None:
    images = torch.full((1, 3, 40, 40), value, requires_grad=True)
    score = metric(images)
    (gradient,) = torch.autograd.grad(score.sum(), images)
    assert bool(torch.isfinite(score).all())
    assert bool(torch.isfinite(gradient).all())


# --- the contract ---------------------------------------------------------------------------------------------------


def test_companions_do_not_matter(metric: Nima) -> None:
    images: Tensor = from_uint8(pictures(3))
    apart = torch.cat([metric(images[k : k + 1]) for k in range(3)])
    assert metric(images).tolist() == pytest.approx(apart.tolist(), abs=1e-5 * metric.spec.diam)


def test_the_spec(metric: Nima, file: Path) -> None:
    (described,) = metric.spec.weights
    assert metric.spec.name == "nima"
    assert metric.spec.higher_is_better
    assert metric.spec.score_range == (1.0, 10.0)
    assert described.name == file.name
    assert described.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_without_its_file_it_says_which_and_where_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match=r"needs the weights weights_mobilenet_technical_0\.11\.hdf5") as raised:
        metrics.create("nima")
    assert "idealo/image-quality-assessment" in raised.value.fix


def test_smaller_images_are_refused_by_name(metric: Any) -> None:
    with pytest.raises(ImageContractError, match=re.escape("nima takes images from 32 x 32, got (31, 64)")):
        metric(torch.zeros(1, 3, 31, 64))
