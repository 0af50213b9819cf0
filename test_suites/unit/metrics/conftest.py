"""What the tests of the metrics share: files of weights made by hand, random networks, and the bundled data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from iqa_robustness import datasets, metrics
from iqa_robustness.datasets.base import View, view
from iqa_robustness.metrics.base import Metric


@pytest.fixture
def write_weights(tmp_path: Path) -> Callable[..., Path]:
    """A file of weights with a whole header; keyword arguments replace facts, None leaves one out."""

    def write(tensors: Mapping[str, Tensor], *, name: str = "own.safetensors", **facts: Any) -> Path:
        header = {
            "metric": "toy",
            "version": "3",
            "score_range": json.dumps([-1.5, 90.25]),
            "training": json.dumps({"seed": 4, "contents": ["a", "b"]}),
            **facts,
        }
        path = tmp_path / name
        save_file(
            {key: tensor.contiguous() for key, tensor in tensors.items()},
            str(path),
            metadata={key: value for key, value in header.items() if value is not None},
        )
        return path

    return write


@pytest.fixture(scope="session")
def graded() -> View:
    """All fifty images of the bundled data set, 192 × 256."""
    return view(datasets.load("mini"), size=(192, 256))


@pytest.fixture(scope="session")
def score_graded(graded: View) -> Callable[[torch.nn.Module], Tensor]:
    """(contents, levels): the scores that a metric gives to `graded`."""

    def score(metric: torch.nn.Module) -> Tensor:
        assert [item.id.rpartition("-")[2] for item in graded.items] == [*"01234"] * 10
        with torch.inference_mode():
            parts = [metric(graded.batch(range(start, start + 5))) for start in range(0, len(graded), 5)]
        return torch.cat(parts).view(10, 5)

    return score


@contextmanager
def left_uninitialised() -> Iterator[None]:
    """Skip the random weights of new layers: half of the time that a network of 60 M parameters takes to be made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "trunc_normal_"):
            patch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield


@pytest.fixture
def uninitialised() -> Iterator[None]:
    """New layers of this test hold whatever memory held; for networks that are loaded at once."""
    with left_uninitialised():
        yield


@pytest.fixture(scope="session")
def randomised() -> Callable[..., nn.Module]:
    """A network with random weights of a known seed, such that activations keep their size; buffers of indices stay."""

    def fill(build: Callable[[], nn.Module], *, seed: int = 0, gain: float = 1.0, bias: float = 0.02) -> nn.Module:
        with left_uninitialised():
            network = build()
        # Drawing 60 M numbers takes seconds; a million used again and again, at places that never line up, do as well.
        pool = torch.randn(1_000_003, generator=torch.Generator().manual_seed(seed))
        place = 0
        for name, value in network.state_dict().items():
            if not value.is_floating_point() or name.endswith("attn_mask"):
                continue
            place = (place + 7919) % len(pool)
            copies = (place + value.numel()) // len(pool) + 1
            noise = pool.repeat(copies)[place : place + value.numel()].view(value.shape)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs().clamp(max=1))
            elif value.dim() > 1:
                value.copy_(noise * gain / value[0].numel() ** 0.5)
            elif name.endswith("weight"):
                value.copy_(0.8 + 0.1 * noise)
            else:
                value.copy_(0.05 * noise + bias)
        return network.eval().requires_grad_(False)

    return fill


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Metric]:
    """A metric made from a checkpoint with this content; the file is gone afterwards, as it may be large."""

    def create(name: str, content: Any, *, file: str = "weights.pth", **options: Any) -> Metric:
        path = tmp_path_factory.mktemp("published") / file
        torch.save(content, path)
        try:
            with left_uninitialised():
                return metrics.create(name, weights=path, **options)
        finally:
            path.unlink()

    return create


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
def gradient() -> Callable[[Metric, Tensor], Tensor]:
    """Of the summed scores with respect to the pixels."""

    def measure(metric: Metric, images: Tensor) -> Tensor:
        leaf = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(metric(leaf).sum(), leaf)
        return slope

    return measure
