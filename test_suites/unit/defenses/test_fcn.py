"""`fcn`: the filter's output, clamped; which weights it reads; what the bundled ones do to attacked photographs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.base import AttackResult
from iqa_robustness.datasets.base import view
from iqa_robustness.datasets.mini import Mini
from iqa_robustness.defenses.purification.fcn import BUNDLED, DEFAULT, FOLDER, FCNFilter, bundled
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.compact import Compact
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.store import document_of


@pytest.fixture
def network(filled: Callable[..., Any]) -> FCN:
    made: FCN = filled(FCN)
    return made


@pytest.fixture
def path(tmp_path: Path, network: FCN) -> str:
    """As the published training script saves it."""
    torch.save({"model": network.state_dict(), "epoch": 120}, tmp_path / "fcn_mse.pth")
    return str(tmp_path / "fcn_mse.pth")


def test_it_is_the_networks_image_within_the_range(path: str, network: FCN, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 33, 47)
    purified = FCNFilter(weights=path).purify(images)
    assert torch.equal(purified, network(images).clamp(0, 1))
    assert FCNFilter.keeps_geometry
    assert FCNFilter.differentiable


def test_a_tile_is_filtered_with_its_own_statistics(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(1, 64, 64)
    whole, tiled = (FCNFilter(weights=path, tile=tile).purify(images) for tile in (0, 32))
    assert tiled.shape == whole.shape
    assert not torch.allclose(tiled, whole, atol=1e-4)
    corner = FCNFilter(weights=path).purify(images[:, :, 29:, :35])[:, :, 3:, :32]
    assert torch.equal(tiled[:, :, 32:, :32], corner)
    assert torch.equal(FCNFilter(weights=path, tile=64).purify(images), whole)


def test_images_do_not_share_statistics(path: str, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 20, 20)
    images[1] *= 0.1
    purify = FCNFilter(weights=path).purify
    assert torch.allclose(purify(images)[:1], purify(images[:1]), atol=1e-5)


# --- which weights ----------------------------------------------------------------------------------------------------


def recorded(**parameters: Any) -> list[list[str]]:
    """Names and digests of the files, as every record has them."""
    found: list[list[str]] = document_of(FCNFilter(**parameters))["fields"]["weights"]
    return found


@pytest.mark.parametrize("loss", BUNDLED)
def test_the_bundled_files_are_small_and_the_declared_ones(loss: str) -> None:
    content = bundled(loss).read_bytes()
    assert hashlib.sha256(content).hexdigest() == BUNDLED[loss]
    assert len(content) < 64_000
    assert recorded(weights=loss) == [[f"fcn-bundled-{loss}.safetensors", BUNDLED[loss]]]


@pytest.mark.parametrize("loss", BUNDLED)
def test_the_header_agrees_with_the_model_card(loss: str) -> None:
    with safe_open(bundled(loss), framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts["defense"] == "fcn"
    assert facts["recipe"]["loss"] == loss
    assert facts["attack"] == document_of(attacks.create("advcf", strength="medium"))
    assert facts["metric"]["name"] == "compact"
    assert not set(facts["dataset"]["contents"]) & {item.content for item in Mini().items}
    card = (Path(__file__).parents[3] / "docs" / "model-cards" / "fcn.md").read_text(encoding="utf-8")
    assert facts["dataset"]["digest"][:16] in card
    for name in ("attacked", "purified", "purified clean"):
        assert f"{facts['report'][name]['PSNR']:.2f}" in card


def test_nothing_bundled_is_left_undeclared() -> None:
    assert {path.name for path in FOLDER.glob("fcn-*")} == {bundled(loss).name for loss in BUNDLED}
    assert DEFAULT in BUNDLED


def test_without_the_published_file_the_bundled_one_is_read_and_the_record_says_so(
    kept: Path, path: str, network: FCN, noise: Callable[..., Tensor]
) -> None:
    images = noise(1, 24, 24)
    assert recorded() == recorded(weights=DEFAULT)
    own = FCNFilter().purify(images)
    assert torch.equal(own, FCNFilter(weights=DEFAULT).purify(images))
    (kept / "fcn_mse.pth").write_bytes(Path(path).read_bytes())
    assert recorded()[0][0] == "fcn_mse.pth"
    assert torch.equal(FCNFilter().purify(images), network(images).clamp(0, 1))
    assert torch.equal(FCNFilter(weights=DEFAULT).purify(images), own)


def test_losses_make_different_filters(noise: Callable[..., Tensor]) -> None:
    purified = [FCNFilter(weights=loss).purify(noise(1, 24, 24)) for loss in BUNDLED]
    for number, one in enumerate(purified):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in purified[:number])


def test_a_damaged_bundled_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bundled(DEFAULT).read_bytes()
    monkeypatch.setattr("iqa_robustness.defenses.purification.fcn.FOLDER", tmp_path)
    bundled(DEFAULT).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match=f"{BUNDLED[DEFAULT]} is expected") as raised:
        FCNFilter(weights=DEFAULT).network(torch.device("cpu"))
    assert raised.value.where.file == str(bundled(DEFAULT))
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(bundled(DEFAULT).read_bytes())
    assert isinstance(FCNFilter(weights=str(copy)).network(torch.device("cpu")), FCN)


# --- what the bundled weights do --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked() -> AttackResult:
    """Five pictures of mini, small, after the attack that the weights were trained on."""
    images = view(Mini(), count=5, size=(96, 128))
    return attacks.create("advcf", strength="medium")(Compact(), images.batch(range(5)))


@pytest.mark.parametrize("loss", BUNDLED)
def test_attacked_images_score_nearer_to_the_clean_ones(loss: str, attacked: AttackResult) -> None:
    scorer = Scorer(metric=Compact(), micro_batch=4)
    purified = FCNFilter(weights=loss).purify(attacked.images)
    clean, before, after = (scorer.scores(images) for images in (attacked.clean, attacked.images, purified))
    assert (after - clean).abs().mean() < 0.7 * (before - clean).abs().mean()
    assert ((after - clean).abs() < (before - clean).abs()).sum() >= 4
