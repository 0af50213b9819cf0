"""What the tests of purifications share: pictures of noise and of photographs, and one random stream an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.datasets.mini import Mini

CONTENTS = ("astronaut", "coffee", "gravel", "hubble")


@pytest.fixture(scope="session")
def noise() -> Tensor:
    """(2, 3, 37, 52) uniform, no two neighbours equal."""
    return torch.from_numpy(np.random.RandomState(0).uniform(size=(2, 3, 37, 52)).astype(np.float32))


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """(4, 96, 128, 3) uint8, cut out of photographs."""
    mini = Mini()
    return np.stack([mini.reference(content)[100:196, 200:328] for content in CONTENTS])
