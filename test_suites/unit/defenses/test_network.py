"""Purifications by networks: where weights are found, what stands in keys, and that a network is loaded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.defenses.purification import network as module
from iqa_robustness.defenses.purification.fcn import FCNFilter
from iqa_robustness.defenses.purification.network import KEPT_NETWORKS
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import ConfigurationError, WeightsError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer, transformed
from iqa_robustness.metrics.weights import MANIFEST, entry_of
from iqa_robustness.store import Key, document_of

# diffpure reads models of several kinds, by a file of its own.
NETWORKS = [name for name in defenses.registry.names() if name in MANIFEST and name != "diffpure"]
# The published weights of these are one choice among others, some of which are bundled.
COMPLETE = ["fcn"]
INCOMPLETE = [name for name in NETWORKS if name not in COMPLETE]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    module._network.cache_clear()
    module._files.cache_clear()


@pytest.fixture
def file(tmp_path: Path, filled: Callable[..., Any]) -> Path:
    return saved(tmp_path / "mine.pth", filled(FCN))


def saved(path: Path, network: FCN) -> Path:
    torch.save({"model": network.state_dict(), "epoch": 7}, path)
    return path


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[FCNFilter]:
    """Which configurations were loaded, in order."""
    seen: list[FCNFilter] = []
    load = FCNFilter.load

    def noting(self: FCNFilter, files: Any) -> FCN:
        seen.append(self)
        return load(self, files)

    monkeypatch.setattr(FCNFilter, "load", noting)
    return seen


# --- registered and not available -------------------------------------------------------------------------------------


def test_these_defenses_read_published_weights() -> None:
    assert NETWORKS == ["disco", "dncnn", "fcn", "ffdnet", "mprnet", "realesrgan"]


@pytest.mark.parametrize("name", INCOMPLETE)
def test_without_weights_it_is_made_and_says_what_it_lacks(name: str, kept: Path, noise: Callable[..., Tensor]) -> None:
    defense = defenses.create(name)
    assert not defenses.available(name)
    guarded = defense.protect(Vulnerable())
    entry = entry_of(name)
    for ask in (
        lambda: defense.purify(noise(1, 32, 32)),
        lambda: guarded(noise(1, 32, 32)),
        lambda: document_of(defense),
    ):
        with pytest.raises(WeightsError, match=f"defense '{name}' needs the weights {entry.file}") as raised:
            ask()
        assert raised.value.where.defense == name
        assert raised.value.where.file == str(kept / entry.file)
        assert entry.origin in raised.value.fix
        assert "weights=PATH" in raised.value.fix


@pytest.mark.parametrize("name", INCOMPLETE)
def test_with_all_files_of_its_default_it_is_available(name: str, kept: Path) -> None:
    for entry in MANIFEST[name]:
        if not entry.variant:
            assert not defenses.available(name)
            (kept / entry.file).write_bytes(b"x")
    assert defenses.available(name)


@pytest.mark.parametrize("name", ["jpeg", *COMPLETE])
def test_defenses_without_weights_or_with_bundled_ones_are_available(name: str, kept: Path) -> None:
    assert defenses.available(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_given_file_that_is_not_there_is_not_replaced(name: str, kept: Path, tmp_path: Path) -> None:
    for entry in MANIFEST[name]:
        (kept / entry.file).write_bytes(b"x")
    with pytest.raises(WeightsError, match="does not exist"):
        document_of(defenses.create(name, weights=str(tmp_path / "gone")))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_malicious_pickle_is_refused(name: str, tmp_path: Path, noise: Callable[..., Tensor]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    for entry in MANIFEST[name]:
        torch.save({"model": Trap()}, tmp_path / Path(entry.file).with_suffix(".pth"))
    path = tmp_path if name == "realesrgan" else tmp_path / Path(entry_of(name).file).with_suffix(".pth")
    with pytest.raises(WeightsError, match="nothing else is loaded") as raised:
        defenses.create(name, weights=str(path)).purify(noise(1, 32, 32))
    assert raised.value.where.defense == name
    assert not (tmp_path / "touched").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path, noise: Callable[..., Tensor]) -> None:
    torch.save({"model": {"conv1.weight": torch.zeros(2, 2)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit fcn: missing conv1\.bias.*; misshapen conv1\.weight"):
        FCNFilter(weights=str(tmp_path / "other.pth")).purify(noise(1, 8, 8))


def test_the_published_file_must_have_its_digest_and_a_given_one_need_not(
    kept: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = module.WeightsEntry(defense="fcn", file="fcn_mse.pth", origin="https://example.org", sha256="0" * 64)
    monkeypatch.setattr("iqa_robustness.defenses.purification.fcn.entry_of", lambda owner: strict)
    (kept / "fcn_mse.pth").write_bytes(file.read_bytes())
    with pytest.raises(WeightsError, match=r"fcn_mse\.pth has sha256 .*, 0{64} is expected") as raised:
        FCNFilter().network(CPU)
    assert raised.value.where.defense == "fcn"
    assert isinstance(FCNFilter(weights=str(file)).network(CPU), FCN)


# --- the key ----------------------------------------------------------------------------------------------------------


def test_digests_stand_in_the_key_and_the_path_does_not(file: Path, tmp_path: Path) -> None:
    document = document_of(FCNFilter(weights=str(file), tile=32))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert document["fields"] == {"paper": False, "weights": [["mine.pth", digest]], "tile": 32}
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "mine.pth"
    moved.write_bytes(file.read_bytes())
    assert Key(document_of(FCNFilter(weights=str(moved), tile=32))).digest == Key(document).digest
    assert document_of(FCNFilter(weights=str(moved), tile=0)) != document


def test_other_weights_under_the_same_path_are_another_key(file: Path, filled: Callable[..., Any]) -> None:
    before = document_of(FCNFilter(weights=str(file)))
    saved(file, filled(FCN, seed=1))
    assert document_of(FCNFilter(weights=str(file)))["fields"]["weights"] != before["fields"]["weights"]


def test_the_published_files_are_in_the_key_too(kept: Path, file: Path) -> None:
    (kept / "fcn_mse.pth").write_bytes(file.read_bytes())
    assert document_of(FCNFilter())["fields"]["weights"][0][0] == "fcn_mse.pth"


# --- loaded once ------------------------------------------------------------------------------------------------------


def test_a_network_is_loaded_when_needed_and_only_once(
    file: Path, loads: list[FCNFilter], noise: Callable[..., Tensor]
) -> None:
    defense = FCNFilter(weights=str(file))
    guarded = defense.protect(Vulnerable())
    assert loads == []
    for _ in range(3):
        defense.purify(noise(2, 32, 32))
        guarded(noise(1, 32, 32))
    FCNFilter(weights=str(file)).purify(noise(1, 32, 32))
    assert loads == [defense]


def test_a_changed_file_is_loaded_again(
    file: Path, loads: list[FCNFilter], filled: Callable[..., Any], noise: Callable[..., Tensor]
) -> None:
    defense, images = FCNFilter(weights=str(file)), noise(1, 8, 8)
    before = defense.purify(images)
    saved(file, filled(FCN, seed=1))
    os.utime(file, ns=(1, 1))
    assert not torch.equal(defense.purify(images), before)
    assert len(loads) == 2


def test_every_device_has_its_own(file: Path, loads: list[FCNFilter]) -> None:
    defense = FCNFilter(weights=str(file))
    here, there = defense.network(CPU), defense.network(torch.device("meta"))
    assert {parameter.device.type for parameter in here.parameters()} == {"cpu"}
    assert {parameter.device.type for parameter in there.parameters()} == {"meta"}
    assert defense.network(CPU) is here
    assert len(loads) == 2


def test_few_networks_are_kept(file: Path, loads: list[FCNFilter]) -> None:
    for tile in range(16, 16 + KEPT_NETWORKS + 2):
        FCNFilter(weights=str(file), tile=tile).network(CPU)
    assert module._network.cache_info().currsize == KEPT_NETWORKS
    FCNFilter(weights=str(file), tile=16).network(CPU)
    assert len(loads) == KEPT_NETWORKS + 3


def test_a_network_is_frozen_and_ready(file: Path) -> None:
    network = FCNFilter(weights=str(file)).network(CPU)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_whoever_comes_first_without_a_graph_does_not_keep_others_from_theirs(
    file: Path, noise: Callable[..., Tensor]
) -> None:
    defense, images = FCNFilter(weights=str(file)), noise(1, 16, 16)
    transformed(defense.purify, images, size=2)  # in inference mode
    leaf = images.clone().requires_grad_(True)
    defense.purify(leaf).square().sum().backward()
    assert (leaf.grad != 0).any()


# --- images -----------------------------------------------------------------------------------------------------------


def test_results_are_clamped(tmp_path: Path, filled: Callable[..., Any], noise: Callable[..., Tensor]) -> None:
    defense = FCNFilter(weights=str(saved(tmp_path / "wild.pth", filled(FCN, gain=5))))
    raw, purified = defense.network(CPU)(noise(2, 16, 16)), defense.purify(noise(2, 16, 16))
    assert float(raw.min()) < 0
    assert torch.equal(purified, raw.clamp(0, 1))


def test_no_graph_is_kept_without_need(file: Path, noise: Callable[..., Tensor]) -> None:
    defense = FCNFilter(weights=str(file), tile=16)
    assert not defense.purify(noise(1, 40, 40)).requires_grad
    with torch.inference_mode():
        assert defense.purify(noise(1, 40, 40)).is_inference()


@pytest.mark.parametrize("tile", [0, 16])
def test_an_adaptive_attack_gets_its_gradients_through_the_network(
    file: Path, tile: int, noise: Callable[..., Tensor]
) -> None:
    guarded = FCNFilter(weights=str(file), tile=tile).protect(Vulnerable())
    images = noise(2, 32, 32)
    scores, gradients = Scorer(metric=guarded, micro_batch=2).scores_and_gradients(images)
    assert torch.isfinite(gradients).all()
    assert (gradients != 0).any(dim=1).float().mean() > 0.9
    assert torch.allclose(scores, Scorer(metric=guarded, micro_batch=2).scores(images), atol=1e-5)
    result = IFGSM()(guarded, images)
    assert (result.values > result.clean_values).all()


def test_no_images_are_no_images(file: Path, noise: Callable[..., Tensor]) -> None:
    assert FCNFilter(weights=str(file)).purify(noise(1, 8, 8)[:0]).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("tile", [-1, 1, 15])
def test_tiles_too_small_are_refused(tile: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a tile of {tile} pixels is refused"):
        FCNFilter(tile=tile)
