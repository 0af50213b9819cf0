"""`koniq:PATH`: releases, score files and scales, the official split, and what is wrong with a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness import datasets
from iqa_robustness.datasets.koniq import BOTH_SCALES, SCORES, SPLIT, Koniq
from iqa_robustness.errors import ConfigurationError, DatasetError

PARTS = ("training", "test", "validation", "test")
NAMES = tuple(f"{number}.jpg" for number in (4, 3, 2, 1))


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path], table: Callable[..., Path]) -> Path:
    """Four images in the small release, with all three tables."""
    home = tmp_path / "koniq"
    for seed, name in enumerate(NAMES):
        put(home / "512x384" / name, seed, 24, 32)
    pairs = [*zip(NAMES, PARTS, (80.5, 20.0, 33.0, 61.0), strict=True)]
    head = '"image_name","c1","c2","c3","c4","c5","c_total"'
    table(home / SPLIT, [f"{head},MOS,SD,set", *(f"{n},0,0,25,73,7,105,{m},.5,{p}" for n, p, m in pairs)])
    both = [f'"{n}",0,0,25,73,7,105,{1 + m / 25},0.5,{m + 0.5}' for n, _, m in pairs]
    table(home / BOTH_SCALES, [f'{head},"MOS","SD","MOS_zscore"', *both])
    table(home / SCORES, ["image_name,MOS", *(f"{n},{m}" for n, _, m in pairs)])
    return home


def scores(data: Koniq) -> list[float]:
    return [item.mos for item in data.items]


def test_without_options_it_is_the_test_part_on_the_scale_to_100(root: Path) -> None:
    data = datasets.load(f"koniq:{root}")
    assert [(item.id, item.mos, item.content) for item in data.items] == [("3", 20.0, "3"), ("1", 61.0, "1")]
    assert data.mos_kind == "human"
    assert data.name == f"koniq:{root}"
    assert data.pixels(0).shape == (24, 32, 3)


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_parts_are_those_of_the_split_and_make_up_the_whole(root: Path, part: str) -> None:
    data = Koniq(str(root), part=part)
    assert [item.id for item in data.items] == [Path(n).stem for n, p in zip(NAMES, PARTS, strict=True) if p == part]
    assert {row.part for row in data.rows} == {part}
    whole = Koniq(str(root), part="all")
    assert [row.part for row in whole.rows] == [*PARTS]
    assert data.digest != whole.digest
    assert data.origin == whole.origin


def test_all_images_need_no_split(root: Path) -> None:
    (root / SPLIT).unlink()
    assert len(Koniq(str(root), part="all")) == 4
    with pytest.raises(DatasetError, match="split is not there") as caught:
        Koniq(str(root))
    assert "@part=all" in caught.value.fix


def test_the_scale_chooses_table_and_column(root: Path) -> None:
    assert scores(Koniq(str(root), part="all")) == [80.5, 20.0, 33.0, 61.0]
    assert scores(Koniq(str(root), part="all", scale="5")) == pytest.approx([4.22, 1.8, 2.32, 3.44])
    (root / SPLIT).unlink()
    assert scores(Koniq(str(root), part="all")) == [81.0, 20.5, 33.5, 61.5], "the z-scored column"
    (root / BOTH_SCALES).unlink()
    assert scores(Koniq(str(root), part="all")) == [80.5, 20.0, 33.0, 61.0]
    with pytest.raises(DatasetError, match="no scores on the scale to 5"):
        Koniq(str(root), part="all", scale="5")


def test_the_scores_of_a_release_without_distributions_tell_their_scale(root: Path, table: Callable[..., Path]) -> None:
    for name in (SPLIT, BOTH_SCALES):
        (root / name).unlink()
    table(root / SCORES, ["image_name,MOS", "1.jpg,4.75", "2.jpg,1.5"])
    assert Koniq(str(root), part="all").scale == 5
    assert scores(Koniq(str(root), part="all", scale="5")) == [4.75, 1.5]
    with pytest.raises(DatasetError, match="no scores on the scale to 100"):
        Koniq(str(root), part="all", scale="100")
    (root / SCORES).unlink()
    with pytest.raises(DatasetError, match="no scores in"):
        Koniq(str(root), part="all")


def test_the_small_release_goes_before_the_large_one(root: Path, put: Callable[..., Path]) -> None:
    for seed, name in enumerate(NAMES):
        put(root / "1024x768" / name, seed, 48, 64)
    assert Koniq(str(root)).pixels(0).shape == (24, 32, 3)
    large = datasets.load(f"koniq:{root}@release=1024x768")
    assert large.pixels(0).shape == (48, 64, 3)
    assert large.digest != Koniq(str(root)).digest
    (root / "512x384").rename(root / "aside")
    assert np.array_equal(Koniq(str(root)).pixels(1), large.pixels(1))


def test_a_missing_release_is_named(root: Path) -> None:
    with pytest.raises(DatasetError, match="no folder 1024x768"):
        Koniq(str(root), release="1024x768")
    with pytest.raises(DatasetError, match="no folder"):
        Koniq(str(root / "nowhere"))


def test_images_of_another_part_need_not_be_there(root: Path) -> None:
    (root / "512x384" / "4.jpg").unlink()
    assert len(Koniq(str(root))) == 2
    with pytest.raises(DatasetError, match=r"no file '512x384/4\.jpg'") as caught:
        Koniq(str(root), part="all")
    assert caught.value.where.line == 2


@pytest.mark.parametrize("option", ["part", "release", "scale"])
def test_a_wrong_option_is_refused(root: Path, option: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Koniq(str(root), **{option: "half"})


@pytest.mark.parametrize(
    ("file", "before", "after", "words", "line"),
    [
        (SPLIT, "3.jpg,0,0", "4.jpg,0,0", "duplicate row: '4.jpg' is line 2 again", 3),
        (SPLIT, "validation", "dev", "the set 'dev'", 4),
        (SPLIT, "20.0", "120.0", "not on a scale to 100", 3),
        (SPLIT, "20.0", "", "the row has no MOS", 3),
        (SPLIT, "3.jpg,0,0", "../3.jpg,0,0", "no file name", 3),
        (SPLIT, "set\n", "part\n", "no column 'set'", 1),
    ],
)
def test_a_damaged_table_is_refused_by_file_and_line(
    root: Path, file: str, before: str, after: str, words: str, line: int
) -> None:
    path = root / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        Koniq(str(root))
    assert words in caught.value.what
    assert (caught.value.where.file, caught.value.where.line) == (str(path), line)


def test_tables_that_do_not_fit_each_other_are_refused(root: Path, table: Callable[..., Path]) -> None:
    lines = (root / BOTH_SCALES).read_text(encoding="utf-8").splitlines()
    table(root / BOTH_SCALES, lines[:-1])
    with pytest.raises(DatasetError, match=r"1 images of .* have no row here, for one '1\.jpg'"):
        Koniq(str(root), scale="5")
    table(root / BOTH_SCALES, lines)
    table(root / SPLIT, (root / SPLIT).read_text(encoding="utf-8").splitlines()[:-1])
    with pytest.raises(DatasetError, match=r"'1\.jpg' is in no part"):
        Koniq(str(root), scale="5")


def test_a_link_out_of_the_folder_is_refused(root: Path, put: Callable[..., Path], tmp_path: Path) -> None:
    (root / "512x384" / "3.jpg").unlink()
    (root / "512x384" / "3.jpg").symlink_to(put(tmp_path / "elsewhere.jpg", 9))
    with pytest.raises(DatasetError, match="leaves the folder"):
        Koniq(str(root))
