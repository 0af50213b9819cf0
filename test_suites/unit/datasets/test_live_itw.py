"""`live-itw:PATH`: names and scores in MATLAB's files, written here by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from iqa_robustness import datasets
from iqa_robustness.datasets.live_itw import TRAINING, LiveItw
from iqa_robustness.errors import DatasetError

NAMES = [*(f"t{number}.bmp" for number in range(1, TRAINING + 1)), "3.bmp", "1024.JPG", "5.bmp"]


def write(root: Path, *, names: list[str] = NAMES, scores: np.ndarray | None = None) -> None:
    """As the release has them: a column of cells, and a row of numbers."""
    (root / "Data").mkdir(exist_ok=True)
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    values = np.arange(len(NAMES), dtype=float)[None] * 10 if scores is None else scores
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": values})


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path]) -> Path:
    for seed, name in enumerate(NAMES):
        folder = tmp_path / "Images" / ("trainingImages" if name.startswith("t") else "")
        put(folder / Path(name).with_suffix(".bmp"), seed).rename(folder / name)
    write(tmp_path)
    return tmp_path


def test_the_observers_training_images_are_left_out(root: Path, picture: Callable[..., np.ndarray]) -> None:
    data = datasets.load(f"live-itw:{root}")
    assert [(item.id, item.mos) for item in data.items] == [("3", 70.0), ("1024", 80.0), ("5", 90.0)]
    assert np.array_equal(data.pixels(1), picture(TRAINING + 1)), "the suffix does not decide the format"
    assert data.mos_kind == "human"


def test_a_missing_image_is_named(root: Path) -> None:
    (root / "Images" / "5.bmp").unlink()
    with pytest.raises(DatasetError, match=r"no file Images/5\.bmp"):
        LiveItw(str(root))


@pytest.mark.parametrize(
    ("names", "scores"),
    [(NAMES[:-1], None), ([*NAMES[:-1], NAMES[-2]], None), (NAMES, np.array([[*[1.0] * (len(NAMES) - 1), np.nan]]))],
)
def test_names_and_scores_that_do_not_fit_are_refused(root: Path, names: list[str], scores: np.ndarray | None) -> None:
    write(root, names=names, scores=scores)
    with pytest.raises(DatasetError, match="names") as caught:
        LiveItw(str(root))
    assert caught.value.where.file.endswith("AllMOS_release.mat")


@pytest.mark.parametrize("content", [b"", b"no MATLAB file" * 40])
def test_a_damaged_file_is_named(root: Path, content: bytes) -> None:
    (root / "Data" / "AllMOS_release.mat").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot read it"):
        LiveItw(str(root))


def test_a_missing_file_is_named(root: Path) -> None:
    (root / "Data" / "AllImages_release.mat").unlink()
    with pytest.raises(DatasetError, match="cannot read it"):
        LiveItw(str(root))
