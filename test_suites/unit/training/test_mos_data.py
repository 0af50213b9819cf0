"""Reading the training photographs: what comes back, the error for each broken folder, folds and digest."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.errors import DatasetError, ImageReadError
from iqa_robustness.images import encode_png
from iqa_robustness.training.mos_data import (
    Photograph,
    content_folds,
    contents,
    digest,
    read_folder,
    read_nips2017,
    read_sr4kiqa,
)

Read = Callable[[Path], list[Photograph]]


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))


def table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def small(seed: int, rows: int = 4, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def named(*names: str) -> list[Photograph]:
    return [Photograph(name=name, content=name, pixels=small(0)) for name in names]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    root = tmp_path / "judged"
    put(root / "images" / "b_x2.png", small(1))
    put(root / "images" / "a.v1.png", small(2, 6, 3))
    rows = [
        ["extra", "mos_norm", "file", "content"],
        ["1", "0.85", "b_x2.png", "beach, north"],
        ["2", "0", "a.v1.png", "alley"],
    ]
    table(root / "mos.csv", rows)
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    for number, name in enumerate(("z9", "a.0")):
        put(root / "images" / f"{name}.png", small(number))
    table(root / "images.csv", [["ImageId", "URL"], ["z9", "-"], ["a.0", "-"]])
    return root


# --- reading --------------------------------------------------------------------------------------------------------


def test_judged_photographs_have_their_scores_out_of_100(judged: Path) -> None:
    first, second = read_sr4kiqa(judged)
    assert (first.name, first.content, first.mos) == ("b_x2", "beach, north", pytest.approx(85, rel=1e-12))
    assert (second.name, second.content, second.mos) == ("a.v1", "alley", 0)
    assert np.array_equal(first.pixels, small(1))
    assert np.array_equal(second.pixels, small(2, 6, 3))


def test_plain_photographs_are_contents_of_their_own(plain: Path) -> None:
    found = read_nips2017(plain)
    assert [(one.name, one.content, one.mos) for one in found] == [("z9", "z9", None), ("a.0", "a.0", None)]
    assert all(np.array_equal(one.pixels, small(number)) for number, one in enumerate(found))


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    names = ["k2", "k1", "k10", *(f"photo {number:02}" for number in range(20, 0, -1))]
    for number, name in enumerate(names):
        put(tmp_path / f"{name}.png", small(number))
    (tmp_path / "SOURCE.txt").write_text("where from", encoding="utf-8")
    found = read_folder(tmp_path)
    assert [(one.name, one.content, one.mos) for one in found] == [(name, name, None) for name in sorted(names)]
    assert all(np.array_equal(one.pixels, small(names.index(one.name))) for one in found)


def test_grey_files_have_three_channels(tmp_path: Path) -> None:
    put(tmp_path / "grey.png", small(0)[..., 0])
    (found,) = read_folder(tmp_path)
    assert np.array_equal(found.pixels, np.repeat(small(0)[..., :1], 3, axis=2))


# --- folders that are wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("read", "file"), [(read_sr4kiqa, "mos.csv"), (read_nips2017, "images.csv")])
def test_a_missing_table_is_named(tmp_path: Path, read: Read, file: str) -> None:
    with pytest.raises(DatasetError, match="cannot read the table") as raised:
        read(tmp_path / "nowhere")
    assert raised.value.where.file == str(tmp_path / "nowhere" / file)
    assert raised.value.fix


@pytest.mark.parametrize("column", ["file", "content", "mos_norm"])
def test_a_missing_column_of_scores_is_named(judged: Path, column: str) -> None:
    kept = [name for name in ("file", "content", "mos_norm") if name != column]
    table(judged / "mos.csv", [kept, ["1"] * 2])
    with pytest.raises(DatasetError, match=f"no column '{column}'") as raised:
        read_sr4kiqa(judged)
    assert raised.value.where.file == str(judged / "mos.csv")


def test_a_missing_column_of_names_is_named(plain: Path) -> None:
    table(plain / "images.csv", [["Id"], ["z9"]])
    with pytest.raises(DatasetError, match="no column 'ImageId'") as raised:
        read_nips2017(plain)
    assert raised.value.where.file == str(plain / "images.csv")


@pytest.mark.parametrize("content", ["", "file,content,mos_norm\n"])
def test_a_table_without_rows_is_refused(judged: Path, content: str) -> None:
    (judged / "mos.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError) as raised:
        read_sr4kiqa(judged)
    assert raised.value.where.file == str(judged / "mos.csv")


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_a_folder_without_images_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no PNG images") as raised:
        read_folder(tmp_path / place)
    assert raised.value.where.file == str(tmp_path / place)


def test_a_missing_or_broken_image_is_named(judged: Path, plain: Path) -> None:
    (judged / "images" / "a.v1.png").unlink()
    broken = plain / "images" / "z9.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    for read, folder, name in ((read_sr4kiqa, judged, "a.v1.png"), (read_nips2017, plain, "z9.png")):
        with pytest.raises(ImageReadError) as raised:
            read(folder)
        assert raised.value.where.image == str(folder / "images" / name)


# --- contents and folds ---------------------------------------------------------------------------------------------


def test_contents_are_sorted_and_met_once() -> None:
    found = [*named("b", "a"), *named("b", "C")]
    assert contents(found) == ["C", "a", "b"]
    assert contents([]) == []


NAMES = st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=30)


@given(names=NAMES, count=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_folds_are_disjoint_complete_and_of_nearly_equal_size(names: list[str], count: int, seed: int) -> None:
    photographs = named(*names)
    folds = content_folds(photographs, count, seed=seed)
    assert len(folds) == count
    dealt = [content for fold in folds for content in fold]
    assert sorted(dealt) == sorted(set(names))
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert content_folds(photographs[::-1], count, seed=seed) == folds


def test_folds_are_shuffled_by_the_seed() -> None:
    photographs = named(*"abcdefghijkl")
    folds = {seed: content_folds(photographs, 3, seed=seed) for seed in range(20)}
    assert len({tuple(found) for found in folds.values()}) > 15
    with_first = {content: sum(content in found[0] for found in folds.values()) for content in "abcdefghijkl"}
    assert min(with_first.values()) > 0
    assert max(with_first.values()) < 20


# --- digest ---------------------------------------------------------------------------------------------------------


@given(order=st.permutations(range(5)))
def test_the_digest_does_not_depend_on_the_order(order: list[int]) -> None:
    photographs = [Photograph(name=str(n), content="c", pixels=small(n), mos=float(n)) for n in range(5)]
    assert digest([photographs[index] for index in order]) == digest(photographs)


def test_the_digest_names_everything() -> None:
    first = Photograph(name="a", content="b", pixels=small(0), mos=50.0)
    touched = small(0)
    touched[-1, -1, -1] ^= 1
    changes: tuple[dict[str, object], ...] = (
        {"name": "c"},
        {"content": "c"},
        {"mos": 50.5},
        {"mos": None},
        {"pixels": touched},
    )
    others = named("z")
    found = {digest([replace(first, **change), *others]) for change in changes}  # type: ignore[arg-type]
    found |= {digest([first, *others]), digest([first, first, *others]), digest([first]), digest(others), digest([])}
    assert len(found) == 10
    assert all(len(one) == 64 for one in found)
