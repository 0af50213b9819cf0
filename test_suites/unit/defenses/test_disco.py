"""`disco`: the image's own size, 299 × 299 as published, and the layout of its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.disco import Disco
from iqa_robustness.defenses.purification.networks import liif
from iqa_robustness.defenses.purification.networks.liif import LIIF
from iqa_robustness.errors import WeightsError


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> LIIF:
    made: LIIF = filled(LIIF, gain=0.9)
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, network: LIIF) -> str:
    """As DISCO's training script saves it: the tensors under `model`, `sd`, beside the specification."""
    file = tmp_path_factory.mktemp("disco") / "disco_pgd.pth"
    encoder = {"name": "edsr-baseline", "args": {"no_upsampling": True}}
    perceptron = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256, 256, 256, 256]}}
    model = {"name": "liif", "args": {"encoder_spec": encoder, "imnet_spec": perceptron}, "sd": network.state_dict()}
    torch.save({"model": model, "optimizer": {"name": "adam", "args": {"lr": 1e-4}, "sd": {}}, "epoch": 3}, file)
    return str(file)


@pytest.mark.parametrize("size", [(12, 17), (9, 8)])
def test_it_is_the_function_read_at_the_images_pixels(
    path: str, network: LIIF, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    expected = network.read(network.encoder((images - 0.5) / 0.5), size) * 0.5 + 0.5
    purified = Disco(weights=path).purify(images)
    assert torch.allclose(purified, expected.clamp(0, 1), atol=1e-6)
    assert purified.shape == images.shape
    assert Disco().keeps_geometry


def test_paper_returns_299_pixels_whatever_comes_in(
    path: str, network: LIIF, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def note(self: LIIF, features: Tensor, size: tuple[int, int]) -> Tensor:
        asked.append(size)
        return features.new_zeros(len(features), 3, *size)

    monkeypatch.setattr(LIIF, "read", note)
    assert Disco(weights=path, paper=True).purify(noise(2, 12, 17)).shape == (2, 3, 299, 299)
    assert asked == [(299, 299)]
    assert not Disco(paper=True).keeps_geometry


def test_a_plain_state_is_read_too(tmp_path: Path, network: LIIF, path: str, noise: Callable[..., Tensor]) -> None:
    torch.save(network.state_dict(), tmp_path / "plain.pth")
    images = noise(1, 6, 7)
    assert torch.equal(Disco(weights=str(tmp_path / "plain.pth")).purify(images), Disco(weights=path).purify(images))


@pytest.mark.parametrize("content", [{"model": {"sd": {"a": torch.ones(1)}}}, {"model": {"name": "liif"}}, [1, 2]])
def test_another_layout_is_refused(tmp_path: Path, content: Any, noise: Callable[..., Tensor]) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError) as raised:
        Disco(weights=str(tmp_path / "other.pth")).purify(noise(1, 6, 7))
    assert raised.value.where.defense == "disco"


def test_tiles_of_features_agree_with_the_whole(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 20, 90)
    whole, tiled = (Disco(weights=path, tile=tile).purify(images) for tile in (0, 16))
    assert torch.allclose(tiled, whole, atol=1e-5)


def test_gradients_through_parts_and_tiles(
    path: str, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    for tile, queries in ((0, 10_000), (16, 200)):
        monkeypatch.setattr(liif, "QUERIES", queries)
        leaf = noise(1, 12, 40).requires_grad_(True)
        (gradient,) = torch.autograd.grad(Disco(weights=path, tile=tile).purify(leaf).square().sum(), leaf)
        gradients.append(gradient)
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-5)
    assert (gradients[0] != 0).all()
