"""What the conformance suites share: one thread, as a cell has it, and pictures of known kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.datasets.base import view


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photographs() -> Callable[..., Tensor]:
    """Undistorted photographs of the bundled data set, (count, 3, height, width) on the grid k/255."""
    mini = datasets.load("mini")
    originals = [index for index, item in enumerate(mini.items) if item.id.endswith("-0")]
    made: dict[tuple[int, int, int], Tensor] = {}

    def make(count: int, height: int = 48, width: int = 64) -> Tensor:
        key = (count, height, width)
        if key not in made:
            cut = view(mini, size=(height, width))
            made[key] = torch.cat([cut.batch(range(index, index + 1)) for index in originals[:count]])
        return made[key].clone()

    return make


@pytest.fixture(scope="session")
def extremes() -> Callable[..., Tensor]:
    """Black, white, grey, 8-bit noise, and noise of black and white alone."""

    def make(height: int = 48, width: int = 64) -> Tensor:
        random = np.random.RandomState(0)
        shape = (1, 3, height, width)
        levels = [np.full(shape, 0), np.full(shape, 255), np.full(shape, 128)]
        levels += [random.randint(0, 256, shape), random.randint(0, 2, shape) * 255]
        return torch.from_numpy(np.concatenate(levels).astype(np.float32)).div(255)

    return make
