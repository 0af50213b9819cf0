"""Files that trainings leave: read back whole, the same bytes again, half the size on request, no other kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.training.weights_file import check_output, write_weights

FACTS = {"b": [1, 2], "a": {"x": 0.5}}


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    made[0].weight.data = made[0].weight.data.to(memory_format=torch.channels_last)
    return made


@pytest.mark.parametrize("half", [False, True])
def test_weights_and_facts_come_back(half: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "weights.safetensors"
    write_weights(network(), path, facts=FACTS, half=half)
    found = load_file(path)
    for name, value in network().state_dict().items():
        kept = value.half() if half and value.is_floating_point() else value
        assert found[name].dtype == kept.dtype
        assert torch.equal(found[name], kept)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["facts"]) == FACTS


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for path, facts in zip(paths, (FACTS, dict(reversed(FACTS.items()))), strict=True):
        write_weights(network(), path, facts=facts)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_kind_of_file_is_refused() -> None:
    check_output(Path("a.safetensors"))
    for name in ("a.pth", "a", "safetensors"):
        with pytest.raises(ConfigurationError, match=r"no \.safetensors file"):
            check_output(Path(name))
