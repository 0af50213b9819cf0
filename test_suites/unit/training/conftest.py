"""What the tests of the training share: one thread, and photographs made by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from iqa_robustness.images import encode_png
from iqa_robustness.training.distortions import DISTORTIONS
from iqa_robustness.training.mos_data import Photograph


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    """Smooth shapes with fine texture in colour, away from black and white."""

    def make(rows: int = 64, columns: int = 96, *, seed: int = 0, texture: float = 6.0) -> np.ndarray:
        random = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(random.normal(size=(rows, columns, 3)), (5, 5, 0))
        grain = random.normal(size=(rows, columns, 1))
        return np.clip(128 + 80 * smooth / np.abs(smooth).max() + texture * grain, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def coordinates() -> Callable[[int, int], np.ndarray]:
    """A picture whose red is the row and whose green is the column: a cut tells where it is from."""

    def make(rows: int, columns: int) -> np.ndarray:
        assert max(rows, columns) <= 256
        red, green = np.mgrid[:rows, :columns]
        return np.stack([red, green, np.full_like(red, 7)], axis=2).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def photograph(picture: Callable[..., np.ndarray]) -> Callable[..., Photograph]:
    """A photograph by name; its pixels follow from the name."""

    def make(
        name: str, *, rows: int = 96, columns: int = 128, content: str = "", mos: float | None = None
    ) -> Photograph:
        pixels = picture(rows, columns, seed=sum(name.encode()))
        return Photograph(name=name, content=content or name, pixels=pixels, mos=mos)

    return make


@pytest.fixture(scope="session")
def scene(picture: Callable[..., np.ndarray]) -> Callable[[int], np.ndarray]:
    """One of the pictures in `fill_folders`, 80 × 104."""
    return lambda seed: picture(80, 104, seed=seed)


@pytest.fixture(scope="session")
def fill_folders(scene: Callable[[int], np.ndarray]) -> Callable[[Path], Path]:
    """What `train metric-head` reads: six contents, sharp and blurred; three photographs to damage; two unseen ones."""

    def put(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pixels))

    def table(path: Path, rows: Sequence[Sequence[str]]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    def fill(root: Path) -> Path:
        rows = [["file", "content", "mos_norm"]]
        for number, content in enumerate(("alley", "beach", "cabin", "ditch", "elm", "field")):
            for level, severity in enumerate((None, 1, 3.5)):
                name = f"{content}_{level}.png"
                pixels = scene(number)
                if severity is not None:
                    pixels = DISTORTIONS["gaussian-blur"](pixels, severity, np.random.default_rng(0))
                put(root / "judged" / "images" / name, pixels)
                rows.append([name, content, f"{0.9 - 0.3 * level - 0.01 * number:.3f}"])
        table(root / "judged" / "mos.csv", rows)
        for number, name in enumerate(("p2", "p1", "p3")):
            put(root / "plain" / "images" / f"{name}.png", scene(50 + number))
        table(root / "plain" / "images.csv", [["ImageId"], ["p2"], ["p1"], ["p3"]])
        for number in range(2):
            put(root / "unseen" / f"u{number}.png", scene(70 + number))
        return root

    return fill


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """The command line that trains on filled folders."""

    def make(root: Path, *, metric: str, out: Path, seed: int = 0) -> list[str]:
        return [
            *("train", "metric-head", "--iqa-metric", metric),
            *("--mos", str(root / "judged"), "--photographs", str(root / "plain"), "--unseen", str(root / "unseen")),
            *("--out", str(out), "--seed", str(seed), "--steps", "3", "--threads", "1"),
        ]

    return make
