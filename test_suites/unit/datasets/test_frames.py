"""`frames:PATH`: clips from y4m files and folders of numbered pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iqa_robustness import datasets
from iqa_robustness.datasets.frames import Frames
from iqa_robustness.datasets.reading import Gathered, stream
from iqa_robustness.errors import ConfigurationError, DatasetError


def y4m(path: Path, frames: int, first: int = 16) -> Path:
    path.write_bytes(b"YUV4MPEG2 W8 H6 Cmono\n" + b"".join(b"FRAME\n" + bytes([first + n] * 48) for n in range(frames)))
    return path


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path]) -> Path:
    """Two clips: three numbered pictures, and four frames of a y4m file."""
    home = tmp_path / "clips"
    for n in (9, 10, 11):
        put(home / "walk" / f"walk_25fps_{n}.png", n, 6, 8)
    y4m(home / "boat.y4m", 4)
    return home


def test_a_clip_is_one_content(root: Path, picture: Callable[..., np.ndarray]) -> None:
    data = datasets.load(f"frames:{root}")
    assert [item.id for item in data.items] == [
        *(f"boat/{n:06d}" for n in range(4)),
        *(f"walk/{n:06d}" for n in (9, 10, 11)),
    ]
    assert [item.content for item in data.items] == ["boat"] * 4 + ["walk"] * 3
    assert all(math.isnan(item.mos) for item in data.items)
    assert data.mos_kind == "none"
    assert np.array_equal(data.pixels(5), picture(10, 6, 8)), "by number, not by alphabet"
    assert data.pixels(3)[0, 0].tolist() == [round(3 * 255 / 219)] * 3


def test_one_file_and_one_folder_are_one_clip(root: Path) -> None:
    assert [item.id for item in Frames(str(root / "boat.y4m")).items] == [f"boat/{n:06d}" for n in range(4)]
    assert {item.content for item in Frames(str(root / "walk")).items} == {"walk"}


def test_every_nth_frame_from_the_first_on(root: Path) -> None:
    data = datasets.load(f"frames:{root}@every=2")
    assert [item.id for item in data.items] == ["boat/000000", "boat/000002", "walk/000009", "walk/000011"]
    assert data.digest != Frames(str(root)).digest
    for text in ("0", "x", "1.5", "-1"):
        with pytest.raises(ConfigurationError, match="every"):
            Frames(str(root), every=text)


def test_scores_are_those_of_the_clip(root: Path, table: Callable[..., Path]) -> None:
    without = Frames(str(root)).digest
    table(root / "mos.csv", ["file,mos", "walk,2.5", "boat.y4m,4"])
    data = Frames(str(root))
    assert [item.mos for item in data.items] == [4.0] * 4 + [2.5] * 3
    assert data.mos_kind == "human"
    assert data.digest != without


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,mos", "walk,1"], "the clip 'boat' has no row"),
        (["file,mos", "walk,1", "boat,2", "fly,3"], "no clip 'fly'"),
        (["file,mos", "walk,1", "boat,2", "boat.y4m,2"], "duplicate row"),
        (["file,mos", "walk,good", "boat,2"], "no finite number"),
    ],
)
def test_a_wrong_table_is_refused(root: Path, table: Callable[..., Path], lines: list[str], words: str) -> None:
    table(root / "mos.csv", lines)
    with pytest.raises(DatasetError) as caught:
        Frames(str(root))
    assert words in caught.value.what


@pytest.mark.parametrize("suffix", [".mp4", ".MKV", ".yuv", ".webm"])
def test_other_containers_are_refused_by_name(root: Path, suffix: str) -> None:
    file = root / f"film{suffix}"
    file.write_bytes(b"")
    for place in (root, file):
        with pytest.raises(DatasetError) as caught:
            Frames(str(place))
        assert f"{suffix} files are not read" in caught.value.what
        assert "ffmpeg" in caught.value.fix
        assert caught.value.where.file == str(file)


def test_frames_without_numbers_or_with_one_twice_are_refused(root: Path, put: Callable[..., Path]) -> None:
    put(root / "walk" / "b009.png", 1)
    with pytest.raises(DatasetError, match="has the number of"):
        Frames(str(root))
    (root / "walk" / "b009.png").rename(root / "walk" / "title.png")
    with pytest.raises(DatasetError, match=r"title\.png has no number"):
        Frames(str(root))


def test_layouts_that_may_mean_two_things_are_refused(root: Path, put: Callable[..., Path], tmp_path: Path) -> None:
    loose = put(root / "001.png", 1)
    with pytest.raises(DatasetError, match="side by side"):
        Frames(str(root))
    loose.unlink()
    (root / "boat").mkdir()
    with pytest.raises(DatasetError, match="called alike"):
        Frames(str(root))
    (root / "boat").rename(root / "empty")
    with pytest.raises(DatasetError, match="'empty' has no frame"):
        Frames(str(root))
    with pytest.raises(DatasetError, match="no frame and no clip"):
        Frames(str(root / "empty"))
    with pytest.raises(DatasetError, match="there is no"):
        Frames(str(tmp_path / "none"))


def test_a_link_out_of_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "away.y4m").symlink_to(y4m(tmp_path / "outside.y4m", 2))
    with pytest.raises(DatasetError, match="leaves the folder"):
        Frames(str(root))


def test_a_broken_frame_is_named_and_the_others_are_read(root: Path) -> None:
    (root / "walk" / "walk_25fps_10.png").write_bytes(b"")
    gathered = Gathered()
    assert [row for row, _ in stream(Frames(str(root)), on_error=gathered)] == [0, 1, 2, 3, 4, 6]
    (error,) = gathered.errors
    assert (error.where.image, error.where.file) == ("walk/000010", str(root / "walk" / "walk_25fps_10.png"))


def test_the_digest_names_content_and_not_place(root: Path, tmp_path: Path) -> None:
    before = Frames(str(root)).digest
    moved = root.rename(tmp_path / "elsewhere")
    assert Frames(str(moved)).digest == before
    y4m(moved / "boat.y4m", 4, first=30)
    assert Frames(str(moved)).digest != before
