"""`dncnn`: blind by default, told the level with a sigma, each with a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification import dncnn as module
from iqa_robustness.defenses.purification.dncnn import DnCNNDenoising
from iqa_robustness.defenses.purification.networks.dncnn import DnCNN, FDnCNN
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.store import document_of


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, filled: Callable[..., Any]) -> tuple[DnCNN, str]:
    network, file = filled(DnCNN), tmp_path_factory.mktemp("dncnn") / "dncnn_color_blind.pth"
    torch.save(network.state_dict(), file)
    return network, str(file)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, filled: Callable[..., Any]) -> tuple[FDnCNN, str]:
    network, file = filled(FDnCNN), tmp_path_factory.mktemp("fdncnn") / "fdncnn_color.pth"
    torch.save(network.state_dict(), file)
    return network, str(file)


def test_without_a_sigma_it_is_blind(blind: tuple[DnCNN, str], noise: Callable[..., Tensor]) -> None:
    network, path = blind
    images = noise(2, 13, 18)
    assert torch.equal(DnCNNDenoising(weights=path).purify(images), network(images).clamp(0, 1))


@pytest.mark.parametrize("sigma", [0.0, 15 / 255])
def test_with_one_it_is_told(told: tuple[FDnCNN, str], sigma: float, noise: Callable[..., Tensor]) -> None:
    network, path = told
    images = noise(2, 13, 18)
    purified = DnCNNDenoising(weights=path, sigma=sigma).purify(images)
    assert torch.equal(purified, network(images, sigma).clamp(0, 1))


@pytest.mark.parametrize(
    ("sigma", "file"), [(None, "GD_Color_Blind.mat"), (0.0, "FDnCNN_color.mat"), (0.1, "FDnCNN_color.mat")]
)
def test_each_has_its_published_file(
    sigma: float | None, file: str, kept: Path, filled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=f"needs the weights {file}"):
        document_of(DnCNNDenoising(sigma=sigma))
    state = filled(DnCNN if sigma is None else FDnCNN).model.state_dict()
    read = []
    monkeypatch.setattr(module, "read_chain", lambda path, *, entry: (read.append((path.name, entry.file)), state)[1])
    (kept / "given.mat").write_bytes(b"x")
    DnCNNDenoising(sigma=sigma, weights=str(kept / "given.mat")).network(torch.device("cpu"))
    assert read == [("given.mat", file)]


def test_the_other_ones_weights_do_not_fit(
    blind: tuple[DnCNN, str], told: tuple[FDnCNN, str], noise: Callable[..., Tensor]
) -> None:
    for path, sigma in ((blind[1], 0.1), (told[1], None)):
        with pytest.raises(WeightsError, match=r"do not fit dncnn: misshapen 0\.weight"):
            DnCNNDenoising(weights=path, sigma=sigma).purify(noise(1, 8, 8))


def test_tiles_agree_with_the_whole(blind: tuple[DnCNN, str], noise: Callable[..., Tensor]) -> None:
    images = noise(1, 40, 75)
    whole, tiled = (DnCNNDenoising(weights=blind[1], tile=tile).purify(images) for tile in (0, 24))
    assert torch.allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("sigma", [-0.01, 0.5, 25.0])
def test_a_level_it_was_not_trained_for_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match="sigma must lie in 0"):
        DnCNNDenoising(sigma=sigma)
