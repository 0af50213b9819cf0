"""What the tests of the training share: one thread, and photographs made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy import ndimage

from iqa_robustness.training.mos_data import Photograph


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Equal bits are promised for one thread only; `train --threads` sets their number for the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
