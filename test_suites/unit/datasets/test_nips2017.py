"""`nips2017:PATH`: images without scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from iqa_robustness import datasets
from iqa_robustness.datasets.base import view
from iqa_robustness.datasets.nips2017 import Nips2017
from iqa_robustness.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path]) -> Path:
    for seed, name in enumerate("cab"):
        put(tmp_path / "nips" / "images" / f"{name}.png", seed, 13, 13)
    return tmp_path / "nips"


def test_images_without_a_table_go_by_name(root: Path) -> None:
    data = datasets.load(f"nips2017:{root}")
    assert [item.id for item in data.items] == ["a", "b", "c"]
    assert all(math.isnan(item.mos) for item in data.items)
    assert data.mos_kind == "none"
    assert data.digest == Nips2017(str(root)).digest


@pytest.mark.parametrize("name", ["images.csv", "dev_dataset.csv"])
def test_a_table_says_which_images_and_in_which_order(root: Path, table: Callable[..., Path], name: str) -> None:
    table(root / name, ["ImageId,URL,TrueLabel", "c,http://x,1", "a,http://y,2"])
    assert [item.id for item in Nips2017(str(root)).items] == ["c", "a"]


def test_the_folder_of_the_images_itself_will_do(root: Path) -> None:
    assert Nips2017(str(root / "images")).digest == Nips2017(str(root)).digest


def test_a_choice_of_images_without_scores_is_nested(root: Path) -> None:
    data = Nips2017(str(root))
    chosen = [set(view(data, count=count, size=(8, 8)).chosen) for count in (1, 2, 3)]
    assert [len(one) for one in chosen] == [1, 2, 3]
    assert chosen[0] < chosen[1] < chosen[2]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["ImageId", "a", "b", "a"], "duplicate row: 'a' is line 2 again"),
        (["ImageId", "a", "ghost"], "no image ghost.png"),
        (["Id", "a"], "no column 'ImageId'"),
    ],
)
def test_a_wrong_table_is_refused(root: Path, table: Callable[..., Path], lines: list[str], words: str) -> None:
    table(root / "images.csv", lines)
    with pytest.raises(DatasetError) as caught:
        Nips2017(str(root))
    assert words in caught.value.what


def test_a_folder_without_png_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no png"):
        Nips2017(str(tmp_path))
