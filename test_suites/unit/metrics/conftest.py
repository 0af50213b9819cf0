"""What the tests of the bundled metrics share: files of weights made by hand, and the bundled data set scored once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from iqa_robustness import datasets
from iqa_robustness.datasets.base import View, view


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
