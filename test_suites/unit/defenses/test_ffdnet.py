"""`ffdnet`: told the noise level, from either kind of file, the same in tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification import ffdnet as module
from iqa_robustness.defenses.purification.ffdnet import LARGEST_SIGMA, FFDNetDenoising
from iqa_robustness.defenses.purification.networks.ffdnet import FFDNet, from_columns
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.store import document_of


@pytest.fixture(scope="module")
def network(filled: Callable[..., Any]) -> FFDNet:
    made: FFDNet = filled(FFDNet)
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, network: FFDNet) -> str:
    """As cszn/KAIR publishes it: a plain state."""
    file = tmp_path_factory.mktemp("ffdnet") / "ffdnet_color.pth"
    torch.save(network.state_dict(), file)
    return str(file)


@pytest.mark.parametrize("sigma", [0.0, 15 / 255, LARGEST_SIGMA])
@pytest.mark.parametrize("size", [(16, 24), (33, 47)])
def test_it_is_the_network_told_the_level(
    path: str, network: FFDNet, sigma: float, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    purified = FFDNetDenoising(weights=path, sigma=sigma).purify(images)
    assert torch.equal(purified, network(images, sigma).clamp(0, 1))


def test_a_mat_file_is_read_in_matlabs_order(
    tmp_path: Path, network: FFDNet, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_chain", lambda path, *, entry: dict(network.model.state_dict()))
    (tmp_path / "FFDNet_color.mat").write_bytes(b"x")
    expected = FFDNet()
    expected.model.load_state_dict(from_columns(network.model.state_dict()))
    images = noise(1, 12, 16)
    purified = FFDNetDenoising(weights=str(tmp_path / "FFDNet_color.mat")).purify(images)
    assert torch.equal(purified, expected(images, 15 / 255).clamp(0, 1))
    assert not torch.allclose(purified, network(images, 15 / 255).clamp(0, 1), atol=1e-3)


@pytest.mark.parametrize("tile", [16, 31, 64])
def test_tiles_agree_with_the_whole(path: str, tile: int, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 75, 101)
    whole, tiled = (FFDNetDenoising(weights=path, tile=size).purify(images) for size in (0, tile))
    assert torch.allclose(tiled, whole, atol=1e-5)


def test_the_level_is_part_of_the_key(path: str) -> None:
    one, other = (document_of(FFDNetDenoising(weights=path, sigma=sigma)) for sigma in (0.05, 0.1))
    assert one["fields"]["weights"] == other["fields"]["weights"]
    assert one != other


@pytest.mark.parametrize("sigma", [-0.01, 0.3, 15.0, float("nan")])
def test_a_level_it_was_not_trained_for_is_refused(sigma: float) -> None:
    with pytest.raises(ConfigurationError, match="sigma must lie in 0"):
        FFDNetDenoising(sigma=sigma)


def test_a_grey_network_is_refused(tmp_path: Path, noise: Callable[..., Tensor]) -> None:
    torch.save({"model.0.weight": torch.zeros(64, 5, 3, 3)}, tmp_path / "ffdnet_gray.pth")
    with pytest.raises(WeightsError, match="do not fit ffdnet"):
        FFDNetDenoising(weights=str(tmp_path / "ffdnet_gray.pth")).purify(noise(1, 8, 8))
