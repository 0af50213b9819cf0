"""What can be learned from: data sets, folders without scores, several as one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness.errors import ConfigurationError, DatasetError, UnknownNameError
from iqa_robustness.images import encode_png
from iqa_robustness.training.pictures import Joined, Photographs, load

Picture = Callable[..., np.ndarray]


@pytest.fixture
def folder(tmp_path: Path, picture: Picture) -> Path:
    for number, name in enumerate(("b", "a")):
        (tmp_path / f"{name}.png").write_bytes(encode_png(picture(40, 48, seed=number)))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_photographs_are_the_image_files_by_name(folder: Path, picture: Picture) -> None:
    data = load([f"photographs:{folder}"])
    assert isinstance(data, Photographs)
    assert [item.id for item in data.items] == ["a", "b"]
    assert [item.content for item in data.items] == ["a", "b"]
    assert all(math.isnan(item.mos) for item in data.items)
    assert np.array_equal(data.pixels(0), picture(40, 48, seed=1))


def test_the_digest_follows_the_bytes_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in folder.glob("*.png"):
        (elsewhere / file.name).write_bytes(file.read_bytes())
    before = Photographs(str(folder)).digest
    assert Photographs(str(elsewhere)).digest == before
    (elsewhere / "a.png").write_bytes((elsewhere / "b.png").read_bytes())
    assert Photographs(str(elsewhere)).digest != before


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images here"):
        load([f"photographs:{tmp_path}"])


def test_several_are_joined_and_their_contents_kept_apart(folder: Path) -> None:
    reference = f"photographs:{folder}"
    data = load([reference, reference])
    assert isinstance(data, Joined)
    assert [item.id for item in data.items] == ["0/a", "0/b", "1/a", "1/b"]
    assert len({item.content for item in data.items}) == 4
    assert np.array_equal(data.pixels(3), Photographs(str(folder)).pixels(1))
    assert data.digest != load([reference]).digest
    assert data.digest == load([reference, reference]).digest
    assert data.mos_kind == "pseudo"


def test_registered_data_sets_are_taken_as_they_are() -> None:
    assert load(["leaves"]).name == "leaves"
    with pytest.raises(UnknownNameError, match="leaves"):
        load(["leafs"])
    with pytest.raises(ConfigurationError, match="no data set"):
        load([])
