"""Files of trained weights: what comes back, and the error for every way a file can be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.compact import bundled_weights
from iqa_robustness.metrics.lite0 import bundled_head
from iqa_robustness.metrics.trained import BUNDLED, TrainedWeights, read_trained

Write = Callable[..., Path]


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"weight": torch.randn((2, 3), generator=generator), "bias": torch.randn(2, generator=generator)}


def refused(path: Path, *, match: str, metric: str = "toy", sha256: str = "") -> WeightsError:
    with pytest.raises(WeightsError, match=match) as raised:
        read_trained(path, metric=metric, sha256=sha256)
    assert raised.value.where.metric == metric
    assert raised.value.where.file == str(path)
    return raised.value


def test_everything_written_comes_back(write_weights: Write) -> None:
    path = write_weights(tensors())
    found = read_trained(path, metric="toy")
    assert (found.path, found.metric, found.version, found.score_range) == (path, "toy", "3", (-1.5, 90.25))
    assert found.training == {"seed": 4, "contents": ["a", "b"]}
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(found.tensors) == {"weight", "bias"}
    assert all(found.tensors[name].equal(value) for name, value in tensors().items())


def test_facts_in_one_entry_are_the_same_facts(tmp_path: Path) -> None:
    facts = {"metric": "toy", "version": "3", "score_range": [-1.5, 90.25], "training": {"seed": 4}}
    path = tmp_path / "one.safetensors"
    path.write_bytes(save(tensors(), metadata={"facts": json.dumps(facts)}))
    found = read_trained(path, metric="toy")
    assert (found.version, found.score_range, found.training) == ("3", (-1.5, 90.25), {"seed": 4})
    path.write_bytes(save(tensors(), metadata={"facts": json.dumps({**facts, "score_range": None})}))
    refused(path, match="lacks or garbles")
    path.write_bytes(save(tensors(), metadata={"facts": "{"}))
    refused(path, match="lacks or garbles")


def test_the_file_names_itself_and_its_digest(write_weights: Write) -> None:
    path = write_weights(tensors(), name="mine.safetensors")
    file = read_trained(path, metric="toy").file()
    assert file.name == "mine.safetensors"
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.origin == "iqa-robustness train"


def test_tensors_outlive_the_file(write_weights: Write) -> None:
    path = write_weights(tensors())
    found = read_trained(path, metric="toy")
    path.write_bytes(bytes(path.stat().st_size))
    assert found.tensors["weight"].equal(tensors()["weight"])


def test_the_right_digest_is_accepted_and_another_refused(write_weights: Write) -> None:
    path = write_weights(tensors())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_trained(path, metric="toy", sha256=digest).sha256 == digest
    other = "0" * 64
    error = refused(path, match=digest, sha256=other)
    assert other in error.what
    assert error.fix


def test_a_single_changed_bit_is_noticed(write_weights: Write) -> None:
    path = write_weights(tensors())
    content = bytearray(path.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    path.write_bytes(content)
    refused(path, match="sha256", sha256=digest)


def test_another_metrics_weights_are_refused(write_weights: Write) -> None:
    refused(write_weights(tensors(), metric="lite0"), match="weights of 'lite0', not of 'toy'")
    refused(write_weights(tensors(), metric=None), match="an unnamed metric")


def test_a_file_without_any_header_is_refused(write_weights: Write) -> None:
    path = write_weights(tensors(), metric=None, version=None, score_range=None, training=None)
    refused(path, match="an unnamed metric")


@pytest.mark.parametrize("fact", ["version", "score_range", "training"])
def test_a_missing_fact_is_named(write_weights: Write, fact: str) -> None:
    error = refused(write_weights(tensors(), **{fact: None}), match=fact)
    assert error.fix


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"score_range": "0 to 100"}, id="range in words"),
        pytest.param({"score_range": "[1, 2, 3]"}, id="three bounds"),
        pytest.param({"score_range": "[1]"}, id="one bound"),
        pytest.param({"score_range": "100"}, id="a number for a range"),
        pytest.param({"score_range": "null"}, id="no range"),
        pytest.param({"score_range": '["low", "high"]'}, id="bounds in words"),
        pytest.param({"training": "{"}, id="half a header"),
    ],
)
def test_garbled_facts_are_refused(write_weights: Write, facts: dict[str, str]) -> None:
    refused(write_weights(tensors(), **facts), match="header lacks or garbles")


@pytest.mark.parametrize("kept", [0, 5, 8, 60, -1])
def test_a_truncated_file_is_refused(write_weights: Write, kept: int) -> None:
    path = write_weights(tensors())
    path.write_bytes(path.read_bytes()[:kept])
    error = refused(path, match="cannot read the weights")
    assert error.fix


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.safetensors", match="cannot read the weights")
    refused(tmp_path, match="cannot read the weights")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    torch.save(tensors(), path)
    refused(path, match="cannot read the weights")


def test_weights_are_copied_into_a_module(write_weights: Write) -> None:
    module = nn.Linear(3, 2)
    read_trained(write_weights(tensors()), metric="toy").load_into(module)
    assert module.weight.equal(tensors()["weight"])
    assert module.bias.equal(tensors()["bias"])


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        pytest.param({"bias": None}, "bias", id="missing"),
        pytest.param({"extra": torch.zeros(1)}, "extra", id="left over"),
        pytest.param({"weight": torch.zeros(3, 2)}, r"size mismatch for weight", id="shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(write_weights: Write, change: dict[str, Tensor], shown: str) -> None:
    odd = {name: value for name, value in {**tensors(), **change}.items() if value is not None}
    path = write_weights(odd)
    with pytest.raises(WeightsError, match=shown) as raised:
        read_trained(path, metric="toy").load_into(nn.Linear(3, 2))
    assert raised.value.where.metric == "toy"
    assert raised.value.where.file == str(path)
    assert raised.value.fix


@pytest.mark.parametrize("bundled", [bundled_weights, bundled_head])
def test_bundled_weights_are_usable_numbers(bundled: Callable[[], TrainedWeights]) -> None:
    found = bundled()
    low, high = found.score_range
    assert found.path.parent == BUNDLED
    assert low < high
    assert found.version
    assert all(value.dtype == torch.float32 and bool(torch.isfinite(value).all()) for value in found.tensors.values())
    assert json.loads(json.dumps(found.training)) == found.training
