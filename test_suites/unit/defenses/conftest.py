"""What the tests of defenses share: pictures, and for networks known random weights, files of them, and probes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.datasets.mini import Mini
from iqa_robustness.metrics.weights import FOLDER_VARIABLE

CONTENTS = ("astronaut", "coffee", "gravel", "hubble")


@contextmanager
def _left_uninitialised() -> Iterator[None]:
    """Skip the random weights of new layers, which take most of the time that a large network takes to be made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("kaiming_uniform_", "uniform_"):
            patch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield


@pytest.fixture(scope="session")
def filled() -> Callable[..., Any]:
    """A network with known random weights, such that activations keep their size; without biases, if `bias` is 0."""

    def fill(build: Callable[[], nn.Module], *, seed: int = 0, gain: float = 1.4, bias: float = 0.05) -> nn.Module:
        with _left_uninitialised():
            network = build()
        pool = torch.randn(100_003, generator=torch.Generator().manual_seed(seed))
        place = 0
        for name, value in network.state_dict().items():
            place = (place + 7919) % len(pool)
            copies = (place + value.numel()) // len(pool) + 1
            noise = pool.repeat(copies)[place : place + value.numel()].view(value.shape)
            if value.dim() > 1:
                value.copy_(noise * gain / value[0].numel() ** 0.5)
            elif name.endswith("weight"):  # slopes of PReLUs
                value.copy_(0.25 + 0.1 * noise)
            else:
                value.copy_(bias * noise)
        return network.eval().requires_grad_(False)

    return fill


@pytest.fixture(scope="session")
def layout() -> Callable[[Mapping[str, Tensor]], tuple[int, str]]:
    """(number of keys, digest of the sorted keys and shapes) of a state: what a strict load depends on."""

    def measure(state: Mapping[str, Tensor]) -> tuple[int, str]:
        lines = sorted(f"{key} {tuple(value.shape)}" for key, value in state.items())
        return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    return measure


@pytest.fixture(scope="session")
def noise() -> Callable[..., Tensor]:
    """(count, 3, height, width) uniform in [0, 1], of a seed."""

    def make(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
        return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def probes() -> Callable[[Tensor], list[float]]:
    """Six values of a result, from its first to its last, and its root mean square."""

    def measure(result: Tensor) -> list[float]:
        places = torch.linspace(0, result.numel() - 1, 6).round().long()
        return [*result.flatten()[places].tolist(), float(result.double().square().mean().sqrt())]

    return measure


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights of this test's own, empty."""
    path = tmp_path / "kept"
    path.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(path))
    return path


@pytest.fixture(scope="session")
def grain() -> Tensor:
    """(2, 3, 37, 52) uniform, no two neighbours equal."""
    return torch.from_numpy(np.random.RandomState(0).uniform(size=(2, 3, 37, 52)).astype(np.float32))


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """(4, 96, 128, 3) uint8, cut out of photographs."""
    mini = Mini()
    return np.stack([mini.reference(content)[100:196, 200:328] for content in CONTENTS])


@pytest.fixture(scope="session")
def in_their_names() -> Callable[[Any], dict[str, Tensor]]:
    """The tensors of a network by `guided_network`, as the checkpoints of guided-diffusion lay them out."""
    from iqa_robustness.defenses.purification.networks.guided_diffusion import module_names

    def renamed(network: Any) -> dict[str, Tensor]:
        state, config, found = network.state_dict(), network.config, {}
        for theirs, ours in module_names(config):
            for parameter in ("weight", "bias"):
                name = f"{ours}.{parameter}"
                if name not in state:
                    continue
                value = state[name]
                if ours.endswith(".to_q"):
                    each = [state[f"{ours[:-1]}{letter}.{parameter}"] for letter in "qkv"]
                    heads = len(value) // config["attention_head_dim"]
                    value = torch.stack([part.unflatten(0, (heads, -1)) for part in each], dim=1).flatten(0, 2)
                if ".attentions." in ours and value.dim() == 2:
                    value = value.unsqueeze(2)
                found[f"{theirs}.{parameter}"] = value
        return found

    return renamed
