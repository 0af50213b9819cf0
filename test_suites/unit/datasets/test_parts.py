"""References with options: lists of images, rows of a list, and images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness import datasets
from iqa_robustness.bench.leakage import share_contents
from iqa_robustness.datasets.base import view
from iqa_robustness.datasets.parts import Part, part_of
from iqa_robustness.errors import ConfigurationError, DatasetError, UnknownNameError, UnreadableImagesWarning


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path], table: Callable[..., Path]) -> Path:
    home = tmp_path / "photos@home"
    for seed, name in enumerate("abcd"):
        put(home / f"{name}.png", seed)
    table(home / "mos.csv", ["file,mos", "a.png,4", "b.png,3", "c.png,2", "d.png,1"])
    return home


def ids(reference: str) -> list[str]:
    return [item.id for item in datasets.load(reference).items]


def test_a_list_chooses_images_in_the_order_of_the_data_set(
    root: Path, tmp_path: Path, table: Callable[..., Path]
) -> None:
    file = table(tmp_path / "list.csv", ["id,cluster", "d,0", "a.png,1", "c,1"])
    reference = f"folder:{root}@list={file}"
    data = datasets.load(reference)
    assert [(item.id, item.mos) for item in data.items] == [("a", 4.0), ("c", 2.0), ("d", 1.0)]
    assert data.name == reference
    assert ids(f"{reference}@rows=cluster:1") == ["a", "c"]


def test_two_lists_of_the_same_images_are_one_data_set(root: Path, tmp_path: Path, table: Callable[..., Path]) -> None:
    first = table(tmp_path / "1.csv", ["id,note", "a,x", "b,y"])
    second = table(tmp_path / "2.csv", ["image_name", "b.png", "a.png"])
    (root / "d.png").write_bytes(b"of no concern")
    digests = {datasets.load(f"folder:{root}@list={file}").digest for file in (first, second)}
    assert len(digests) == 1


def test_lists_of_one_folder_share_its_scenes(root: Path, tmp_path: Path, table: Callable[..., Path]) -> None:
    seen, other, apart = (
        datasets.load(f"folder:{root}@list={table(tmp_path / f'{names}.csv', ['id', *names])}")
        for names in ("ab", "bc", "cd")
    )
    assert share_contents(seen, view(other, size=(8, 8)))
    assert not share_contents(seen, view(apart, size=(8, 8)))


@pytest.mark.parametrize(
    ("lines", "words", "line"),
    [
        (["id", "a", "x"], "no image 'x'", 3),
        (["id", "a", "b", "a.png"], "duplicate row: 'a.png' is line 2 again", 4),
        (["id"], "names no image", 0),
        (["who", "a"], "no column 'id'", 1),
        (["id,n", ",1"], "the row has no id", 2),
    ],
)
def test_a_wrong_list_is_refused_by_file_and_line(
    root: Path, tmp_path: Path, table: Callable[..., Path], lines: list[str], words: str, line: int
) -> None:
    file = table(tmp_path / "list.csv", lines)
    with pytest.raises(DatasetError) as caught:
        datasets.load(f"folder:{root}@list={file}")
    assert words in caught.value.what
    assert (caught.value.where.file, caught.value.where.line) == (str(file), line)


def test_data_sets_of_any_kind_have_parts(tmp_path: Path, table: Callable[..., Path]) -> None:
    whole = datasets.load("mini")
    file = table(tmp_path / "list.csv", ["id", "coffee-0", "astronaut-3"])
    data = datasets.load(f"mini@list={file}")
    assert isinstance(data, Part)
    assert [item.id for item in data.items] == ["astronaut-3", "coffee-0"]
    assert (data.mos_kind, data.has_references) == ("pseudo", True)
    assert np.array_equal(data.pixels(0), whole.pixels(3))
    assert np.array_equal(data.reference_pixels(0), whole.reference_pixels(3))
    assert data.digest == part_of(whole, data.chosen, name="x").digest != whole.digest


def test_what_cannot_be_read_is_left_out_where_that_is_asked_for(root: Path) -> None:
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:60])
    with pytest.warns(UnreadableImagesWarning, match=r"1 of 4 images .*b\.png"):
        assert ids(f"folder:{root}@unreadable=skip") == ["a", "c", "d"]
    assert ids(f"folder:{root}@unreadable=stop") == ["a", "b", "c", "d"]


def test_where_nothing_is_wrong_nothing_changes(root: Path) -> None:
    assert datasets.load(f"folder:{root}@unreadable=skip").digest == datasets.load(f"folder:{root}").digest


def test_a_data_set_that_cannot_be_read_at_all_is_refused(root: Path) -> None:
    for name in "abcd":
        (root / f"{name}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="none of 4 images can be read"):
        datasets.load(f"folder:{root}@unreadable=skip")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("@lists=x.csv", UnknownNameError),
        ("@part=test", UnknownNameError),
        ("@unreadable=maybe", ConfigurationError),
        ("@rows=a:1", ConfigurationError),
        ("@list=a.csv@list=b.csv", ConfigurationError),
        ("@list=", ConfigurationError),
    ],
)
def test_a_wrong_option_is_refused(root: Path, options: str, kind: type[ConfigurationError]) -> None:
    with pytest.raises(kind):
        datasets.load(f"folder:{root}{options}")


def test_every_data_set_and_option_is_in_the_docs() -> None:
    page = (Path(datasets.__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for entry in datasets.list():
        assert f"`{entry.name}" in page, entry.name
        for option in entry.options:
            assert f"| `@{option}=" in page, option
