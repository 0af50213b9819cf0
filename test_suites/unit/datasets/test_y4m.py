"""YUV4MPEG2: colours against scikit-image, frames by number, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import ycbcr2rgb

from iqa_robustness.datasets.y4m import Y4m
from iqa_robustness.errors import DatasetError, ImageReadError


def video(path: Path, frames: list[bytes], *, width: int = 6, height: int = 4, tags: str = "F25:1 Ip C444") -> Path:
    header = f"YUV4MPEG2 W{width} H{height} {tags}".rstrip().encode() + b"\n"
    path.write_bytes(header + b"".join(b"FRAME\n" + frame for frame in frames))
    return path


def planes(seed: int, *shapes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(16, 236, shape).astype(np.uint8) for shape in shapes]


def test_colours_are_those_of_bt_601(tmp_path: Path) -> None:
    channels = planes(0, *[(4, 6)] * 3)
    pixels = Y4m(video(tmp_path / "v.y4m", [np.stack(channels).tobytes()]), dataset="d").pixels(0)
    expected = np.round(ycbcr2rgb(np.stack(channels, axis=-1).astype(float)).clip(0, 1) * 255)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() <= 1


def test_the_full_range_is_that_of_jpeg(tmp_path: Path) -> None:
    channels = planes(1, *[(4, 6)] * 3)
    file = video(tmp_path / "v.y4m", [np.stack(channels).tobytes()], tags="C444 XCOLORRANGE=FULL")
    expected = np.array(Image.fromarray(np.stack(channels, axis=-1), mode="YCbCr").convert("RGB")).astype(int)
    assert np.abs(Y4m(file, dataset="d").pixels(0) - expected).max() <= 1


@pytest.mark.parametrize(
    ("tags", "chroma"),
    [("", (2, 3)), ("C420jpeg", (2, 3)), ("C420mpeg2", (2, 3)), ("C420paldv", (2, 3)), ("C422", (4, 3))],
)
def test_halved_chroma_is_spread_over_the_frame(tmp_path: Path, tags: str, chroma: tuple[int, int]) -> None:
    luma = planes(2, (4, 6))[0]
    flat = [np.full(chroma, value, np.uint8) for value in (100, 160)]
    file = video(tmp_path / "v.y4m", [luma.tobytes() + flat[0].tobytes() + flat[1].tobytes()], tags=tags)
    whole = np.stack([luma, np.full_like(luma, 100), np.full_like(luma, 160)], axis=-1)
    expected = np.round(ycbcr2rgb(whole.astype(float)).clip(0, 1) * 255)
    assert np.abs(Y4m(file, dataset="d").pixels(0) - expected).max() <= 1


def test_odd_sizes_round_chroma_up(tmp_path: Path) -> None:
    frame = bytes([81] * 15 + [90] * 6 + [240] * 6)
    pixels = Y4m(video(tmp_path / "v.y4m", [frame], width=5, height=3, tags="C420"), dataset="d").pixels(0)
    assert pixels.shape == (3, 5, 3)
    assert np.abs(pixels.astype(int) - [254, 0, 0]).max() <= 1, "red of the colour bars"


def test_frames_are_read_by_number(tmp_path: Path) -> None:
    made = Y4m(video(tmp_path / "v.y4m", [bytes([16 + n] * 24) for n in range(5)], tags="Cmono"), dataset="d")
    assert len(made) == 5
    for n in (4, 0, 2):
        assert np.array_equal(made.pixels(n), np.full((4, 6, 3), round(n * 255 / 219), np.uint8))


def test_a_frame_may_have_parameters(tmp_path: Path) -> None:
    file = tmp_path / "v.y4m"
    file.write_bytes(b"YUV4MPEG2 W2 H1 Cmono\nFRAME Ip\n\x10\xebFRAME\n\xeb\x10")
    made = Y4m(file, dataset="d")
    assert made.pixels(0)[0].tolist() == [[0] * 3, [255] * 3]
    assert made.pixels(1)[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no YUV4MPEG2"),
        (b"RIFF....AVI \n", "no YUV4MPEG2"),
        (b"YUV4MPEG2 W2 H1", "no YUV4MPEG2"),
        (b"YUV4MPEG2 W2 Cmono\n", "no width and height"),
        (b"YUV4MPEG2 W0 H1\n", "no width and height"),
        (b"YUV4MPEG2 W2 H1 C420p10\n", "chroma format 420p10"),
        (b"YUV4MPEG2 W2 H1 It\n", "interlaced"),
        (b"YUV4MPEG2 W900000 H900000\n", "Pillow's limit"),
        (b"YUV4MPEG2 W2 H1 Cmono\n", "no frame"),
        (b"YUV4MPEG2 W2 H1 Cmono\nFRAME\n\x10", "cut short in frame 1"),
        (b"YUV4MPEG2 W2 H1 Cmono\nFRAME\n\x10\x10FR\n", "what follows frame 1"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "v.y4m"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        Y4m(file, dataset="d")
    assert words in caught.value.what
    assert caught.value.where.file == str(file)
    assert caught.value.fix


def test_a_file_that_changed_since_is_named(tmp_path: Path) -> None:
    file = video(tmp_path / "v.y4m", [bytes(24), bytes(24)], tags="Cmono")
    made = Y4m(file, dataset="d")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ImageReadError, match="frame 1 is cut short"):
        made.pixels(1)
    file.unlink()
    with pytest.raises(ImageReadError, match="cannot read frame 0"):
        made.pixels(0)
    with pytest.raises(DatasetError, match="cannot read the video"):
        Y4m(file, dataset="d")
