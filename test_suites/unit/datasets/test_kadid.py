"""`kadid:PATH`: distorted images with their references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness import datasets
from iqa_robustness.datasets.kadid import Kadid
from iqa_robustness.errors import DatasetError

ROWS = ["dist_img,ref_img,dmos,var", "I01_01_01.png,I01.png,4.57,0.5", "I01_01_02.png,I01.png,1.2,0.8"]


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path], table: Callable[..., Path]) -> Path:
    for seed, name in enumerate(("I01", "I01_01_01", "I01_01_02")):
        put(tmp_path / "images" / f"{name}.png", seed)
    table(tmp_path / "dmos.csv", ROWS)
    return tmp_path


def test_the_reference_is_the_content_and_the_score_is_taken_as_it_is(
    root: Path, picture: Callable[..., np.ndarray]
) -> None:
    data = datasets.load(f"kadid:{root}")
    assert [(item.id, item.mos, item.content) for item in data.items] == [
        ("I01_01_01", 4.57, "I01"),
        ("I01_01_02", 1.2, "I01"),
    ]
    assert data.has_references
    assert np.array_equal(data.pixels(1), picture(2))
    assert np.array_equal(data.reference_pixels(1), picture(0))


def test_a_manifest_names_every_file_once(root: Path) -> None:
    files = Kadid(str(root)).manifest()["files"]
    assert [*files] == ["images/I01.png", "images/I01_01_01.png", "images/I01_01_02.png"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROWS[1], "duplicate row: 'I01_01_01' is line 2 again"),
        ("I09_01_01.png,I01.png,3,1", "no file images/I09_01_01.png"),
        ("I01_01_02.png,I02.png,3,1", "no file images/I02.png"),
        ("I01_01_02.png,../images/I01.png,3,1", "no file"),
        ("I01_01_02.png,I01.png,good,1", "no finite number"),
        (",I01.png,3,1", "the row has no dist_img"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root: Path, table: Callable[..., Path], row: str, words: str) -> None:
    table(root / "dmos.csv", [*ROWS[:2], row])
    with pytest.raises(DatasetError) as caught:
        Kadid(str(root))
    assert words in caught.value.what
    assert caught.value.where.line == 3


def test_a_folder_without_its_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read the table"):
        Kadid(str(tmp_path))
