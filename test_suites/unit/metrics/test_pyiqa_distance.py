"""Distances of pyiqa, and where their files are: real ones without weights, and what is said when files are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iqa_robustness.errors import ConfigurationError, UnknownNameError, WeightsError
from iqa_robustness.metrics import pyiqa_files, pyiqa_table
from iqa_robustness.metrics.pyiqa_distance import PyiqaDistance

pytestmark = pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed (extra pyiqa)")


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub"


def test_a_distance_without_weights_compares_images_one_by_one() -> None:
    distance = PyiqaDistance("gmsd")
    generator = torch.Generator().manual_seed(0)
    references = torch.rand(3, 3, 48, 64, generator=generator)
    images = (references + 0.1 * torch.rand(references.shape, generator=generator)).clamp(0, 1)
    leaf = images.clone().requires_grad_(True)
    found = distance(leaf, references)
    assert found.shape == (3,)
    (slope,) = torch.autograd.grad(found.sum(), leaf)
    assert slope.abs().flatten(1).any(dim=1).all()
    assert (found > distance(references, references)).all()
    alone = distance(images[1:2], references[1:2])
    assert not alone.requires_grad
    assert float(alone) == pytest.approx(float(found[1].detach()), abs=1e-5)
    assert distance.files == ()


@pytest.mark.parametrize("name", ["niqe", "ssim"])
def test_what_is_no_distance_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no distance"):
        PyiqaDistance(name)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="'dist'") as raised:
        PyiqaDistance("dist")
    assert "dists" in raised.value.fix


@pytest.mark.parametrize("name", ["dists", "lpips"])
def test_a_missing_file_is_named_with_the_place_that_it_belongs_to(name: str, no_cache: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        PyiqaDistance(name)
    assert raised.value.where.file == str(no_cache / pyiqa_files.FILES[name][0])
    assert str(no_cache) in raised.value.fix
    assert f"pyiqa.create_metric('{name}')" in raised.value.fix


@pytest.mark.parametrize("name", ["dists", "lpips"])
def test_the_files_are_looked_for_where_the_library_looks(
    name: str, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pyiqa_files.cache() == no_cache == Path(torch.hub.get_dir())
    files = [no_cache / file for file in pyiqa_files.FILES[name]]
    for file in files:
        assert not pyiqa_files.cached(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
    assert pyiqa_files.cached(name)
    monkeypatch.setattr(pyiqa_table, "installed", lambda: False)
    assert not pyiqa_files.cached(name)


def test_without_torch_home_it_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pyiqa_files.cache() == tmp_path / "torch" / "hub" == Path(torch.hub.get_dir())
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert pyiqa_files.cache() == Path.home() / ".cache" / "torch" / "hub" == Path(torch.hub.get_dir())
