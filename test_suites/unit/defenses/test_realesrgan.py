"""`realesrgan`: back to the image's size, interpolated checkpoints, and an installed package's ncnn models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.defenses.purification import realesrgan as module
from iqa_robustness.defenses.purification.networks.srvgg import SRVGGNetCompact
from iqa_robustness.defenses.purification.realesrgan import MODELS, PACKAGED, RealESRGAN
from iqa_robustness.errors import ConfigurationError, UnknownNameError, WeightsError
from iqa_robustness.store import document_of

ANIME = partial(SRVGGNetCompact, convolutions=16)
FILES = ("realesr-general-x4v3.pth", "realesr-general-wdn-x4v3.pth")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def anime(tmp_path_factory: pytest.TempPathFactory, filled: Callable[..., Any]) -> tuple[SRVGGNetCompact, str]:
    network, file = filled(ANIME), tmp_path_factory.mktemp("anime") / "realesr-animevideov3.pth"
    torch.save({"params": network.state_dict()}, file)
    return network, str(file)


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory, filled: Callable[..., Any]) -> tuple[list[SRVGGNetCompact], str]:
    """Both networks, and a folder with their checkpoints."""
    folder = tmp_path_factory.mktemp("general")
    networks = [filled(MODELS["general-x4v3"], seed=seed) for seed in (0, 1)]
    for network, name in zip(networks, FILES, strict=True):
        torch.save({"params": network.state_dict()}, folder / name)
    return networks, str(folder)


def written(network: SRVGGNetCompact, param: Path) -> Path:
    """The network as an ncnn model of 16 bits."""
    lines, data = ["Input data 0 1 data"], b""
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            lines.append(f"Convolution c 1 1 a b 0={len(layer.bias)} 1=3 4=1 5=1 6={layer.weight.numel()}")
            data += b"\x47\x6b\x30\x01" + layer.weight.half().numpy().tobytes() + layer.bias.numpy().tobytes()
        else:
            lines.append(f"PReLU p 1 1 b c 0={layer.weight.numel()}")
            data += layer.weight.numpy().tobytes()
    param.write_text("\n".join(["7767517", f"{len(lines)} 99", *lines]) + "\n")
    param.with_suffix(".bin").write_bytes(data)
    return param


# --- geometry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 12), (9, 11)])
def test_four_pixels_by_four_of_the_enlarged_image_are_averaged(
    anime: tuple[SRVGGNetCompact, str], size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    network, path = anime
    images = noise(2, *size)
    enlarged = network(images).clamp(0, 1)
    expected = enlarged.unflatten(3, (size[1], 4)).unflatten(2, (size[0], 4)).mean(dim=(3, 5))
    defense = RealESRGAN(model="animevideov3", weights=path)
    assert torch.allclose(defense.purify(images), expected, atol=1e-6)
    assert defense.keeps_geometry


def test_paper_returns_the_enlarged_image_clamped(
    anime: tuple[SRVGGNetCompact, str], noise: Callable[..., Tensor]
) -> None:
    network, path = anime
    images = noise(2, 9, 11)
    defense = RealESRGAN(model="animevideov3", weights=path, paper=True)
    assert torch.equal(defense.purify(images), network(images).clamp(0, 1))
    assert defense.purify(images).shape == (2, 3, 36, 44)
    assert not defense.keeps_geometry


def test_a_network_that_adds_nothing_leaves_the_image(tmp_path: Path, noise: Callable[..., Tensor]) -> None:
    network = ANIME()
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    torch.save({"params_ema": state, "params": network.state_dict()}, tmp_path / "zero.pth")
    images = noise(1, 8, 8)
    purified = RealESRGAN(model="animevideov3", weights=str(tmp_path / "zero.pth")).purify(images)
    assert torch.allclose(purified, images, atol=1e-6)


@pytest.mark.parametrize("paper", [False, True])
def test_tiles_agree_with_the_whole(
    anime: tuple[SRVGGNetCompact, str], paper: bool, noise: Callable[..., Tensor]
) -> None:
    images = noise(1, 21, 60)
    whole, tiled = (
        RealESRGAN(model="animevideov3", weights=anime[1], paper=paper, tile=tile).purify(images) for tile in (0, 20)
    )
    assert torch.allclose(tiled, whole, atol=1e-5)


# --- deep network interpolation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 1.0])
def test_weights_are_interpolated_between_the_two_checkpoints(
    general: tuple[list[SRVGGNetCompact], str], strength: float
) -> None:
    (plain, denoising), folder = general
    defense = RealESRGAN(weights=folder, denoise_strength=strength)
    states = [network.state_dict() for network in (plain, denoising, defense.network(CPU))]
    for key, value in states[2].items():
        assert torch.allclose(value, strength * states[0][key] + (1 - strength) * states[1][key], atol=1e-7)
    names = [name for name, _ in document_of(defense)["fields"]["weights"]]
    assert names == {0.0: [FILES[1]], 1.0: [FILES[0]]}.get(strength, [*FILES])


def test_the_default_is_the_benchmarks() -> None:
    assert (RealESRGAN().model, RealESRGAN().denoise_strength, RealESRGAN().tile) == ("general-x4v3", 0.2, 0)


@pytest.mark.parametrize("missing", FILES)
def test_both_checkpoints_are_needed(
    general: tuple[list[SRVGGNetCompact], str], missing: str, tmp_path: Path, noise: Callable[..., Tensor]
) -> None:
    other = FILES[1 - FILES.index(missing)]
    (tmp_path / other).write_bytes((Path(general[1]) / other).read_bytes())
    with pytest.raises(WeightsError, match=missing):
        RealESRGAN(weights=str(tmp_path)).purify(noise(1, 8, 8))
    only = 1.0 if other == FILES[0] else 0.0
    assert RealESRGAN(weights=str(tmp_path), denoise_strength=only).purify(noise(1, 8, 8)).shape == (1, 3, 8, 8)


def test_two_networks_of_other_sizes_are_refused(
    general: tuple[list[SRVGGNetCompact], str], anime: tuple[SRVGGNetCompact, str], tmp_path: Path
) -> None:
    (tmp_path / FILES[0]).write_bytes((Path(general[1]) / FILES[0]).read_bytes())
    (tmp_path / FILES[1]).write_bytes(Path(anime[1]).read_bytes())
    with pytest.raises(WeightsError, match="do not fit realesrgan") as raised:
        RealESRGAN(weights=str(tmp_path)).network(CPU)
    assert raised.value.where.file == str(tmp_path / FILES[1])


# --- ncnn -------------------------------------------------------------------------------------------------------------


def test_an_ncnn_model_is_the_same_network_in_16_bits(
    anime: tuple[SRVGGNetCompact, str], tmp_path: Path, noise: Callable[..., Tensor]
) -> None:
    param = written(anime[0], tmp_path / "mine.param")
    defense, images = RealESRGAN(model="animevideov3", weights=str(param)), noise(1, 12, 10)
    expected = RealESRGAN(model="animevideov3", weights=anime[1]).purify(images)
    assert torch.allclose(defense.purify(images), expected, atol=5e-3)
    assert not torch.equal(defense.purify(images), expected)
    for key, value in defense.network(CPU).state_dict().items():
        known = anime[0].state_dict()[key]
        assert torch.equal(value, known.half().float() if value.dim() > 1 else known)
    assert [name for name, _ in document_of(defense)["fields"]["weights"]] == ["mine.param", "mine.bin"]


@pytest.fixture
def package(tmp_path: Path, anime: tuple[SRVGGNetCompact, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The distribution's folder of models, with one of them; its code cannot be imported."""
    folder = tmp_path / module.PACKAGE / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('it was imported')")
    written(anime[0], folder / PACKAGED["animevideov3"])
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_an_installed_package_serves_where_the_published_file_is_missing(
    kept: Path, package: Path, anime: tuple[SRVGGNetCompact, str], noise: Callable[..., Tensor]
) -> None:
    defense = RealESRGAN(model="animevideov3")
    assert [path for _, path in defense.sources] == [
        package / PACKAGED["animevideov3"],
        package / "realesr-animevideov3-x4.bin",
    ]
    assert torch.isfinite(defense.purify(noise(1, 8, 8))).all()
    before = document_of(defense)
    (kept / "realesr-animevideov3.pth").write_bytes(Path(anime[1]).read_bytes())
    assert [path for _, path in defense.sources] == [None]
    with pytest.raises(WeightsError, match="sha256"):
        document_of(defense)
    assert before["fields"]["weights"][0][0] == PACKAGED["animevideov3"]


@pytest.mark.parametrize("model", ["animevideov3", "x4plus"])
def test_without_either_the_published_file_is_asked_for(
    model: str, kept: Path, monkeypatch: pytest.MonkeyPatch, noise: Callable[..., Tensor]
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs the weights (Real|realesr)") as raised:
        RealESRGAN(model=model).purify(noise(1, 8, 8))
    assert "weights fetch realesrgan" in raised.value.fix


def test_a_package_without_files_is_no_package(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: SimpleNamespace(origin=None))
    assert RealESRGAN(model="x4plus").sources[0][1] is None


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean x4plus"):
        RealESRGAN(model="x4pluss")


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_beyond_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigurationError, match="denoise_strength"):
        RealESRGAN(denoise_strength=strength)


def test_gradients_reach_every_pixel(anime: tuple[SRVGGNetCompact, str], noise: Callable[..., Tensor]) -> None:
    images = 0.3 + 0.4 * noise(1, 10, 10)
    for tile in (0, 16):
        leaf = F.pad(images, (0, 10)).requires_grad_(True)
        RealESRGAN(model="animevideov3", weights=anime[1], tile=tile).purify(leaf).square().sum().backward()
        assert np.isfinite(leaf.grad.numpy()).all()
        assert float((leaf.grad != 0).float().mean()) > 0.9
