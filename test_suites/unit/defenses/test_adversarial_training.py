"""Adversarially trained metrics as defenses: which weights they take, on which scale, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.defenses import adversarial_training
from iqa_robustness.defenses.adversarial_training import (
    BUNDLED,
    FOLDER,
    AdversarialTraining,
    RetrainedMetric,
    file_of,
    subject_of,
)
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.compact import CompactNetwork
from iqa_robustness.metrics.trained import read_trained
from iqa_robustness.metrics.weights import FOLDER_VARIABLE
from iqa_robustness.training.label_penalty import PENALTIES

CONFIGURATIONS = [f"at-{penalty}-{epsilon}" for penalty in ("lite0", "lpips", "ssim") for epsilon in (2, 4, 8)]
NAMES = sorted({name for name, _ in BUNDLED})


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def metric() -> Metric:
    return metrics.create("compact")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def write(tmp_path: Path, metric: Metric) -> Callable[..., Path]:
    """A file of weights: those of compact, halved, with a scale of its own; facts may be changed."""

    def make(path: Path | None = None, *, share: float = 0.5, **more: Any) -> Path:
        facts = {
            "metric": "compact as at-ssim-4",
            "version": metric.spec.version,
            "score_range": [1.0, 41.0],
            "training": {"slope": 3.0, "offset": -2.0},
            **more,
        }
        path = path or tmp_path / "own.safetensors"
        tensors = {name: (share * value).contiguous() for name, value in metric.state_dict().items()}
        path.write_bytes(save(tensors, metadata={"facts": json.dumps(facts)}))
        return path

    return make


def at(name: str = "at-ssim-4", **parameters: Any) -> AdversarialTraining:
    defense = defenses.create(name, **parameters)
    assert isinstance(defense, AdversarialTraining)
    return defense


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_name_says_penalty_and_epsilon(name: str) -> None:
    _, penalty, levels = name.split("-")
    defense = at(name)
    assert defense.epsilon == int(levels) / 255
    assert defense.penalty == {"lite0": "lite0-features"}.get(penalty, penalty)
    assert defense.penalty in PENALTIES
    assert (defense.name, defense.kind) == (name, "training")
    assert (defense.differentiable, defense.stochastic, defense.keeps_geometry) == (True, False, True)


def test_what_has_weights_is_available() -> None:
    for name in [*CONFIGURATIONS, "at"]:
        assert defenses.available(name) is (name in NAMES)
        assert at(name).trained_metrics == (("compact",) if name in NAMES else ())
    assert not [name for name in NAMES if "lpips" in name]


@pytest.mark.parametrize("name", NAMES)
def test_bundled_files_are_those_of_this_release_and_small(name: str) -> None:
    path = FOLDER / file_of(name, "compact")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == BUNDLED[name, "compact"]
    assert path.stat().st_size <= 1_500_000
    found = read_trained(path, metric=subject_of(name, "compact"))
    recipe, defense = found.training["recipe"], at(name)
    assert (recipe["penalty"], recipe["epsilon"]) == (defense.penalty, defense.epsilon)
    assert found.training["data"]["digest"]
    assert found.training["commit"]


@pytest.mark.parametrize("name", NAMES)
def test_the_protected_metric_is_the_network_with_those_weights(
    name: str, metric: Metric, images: torch.Tensor
) -> None:
    path = FOLDER / file_of(name, "compact")
    network = CompactNetwork()
    network.load_state_dict({key.removeprefix("network."): value.float() for key, value in load_file(path).items()})
    facts = read_trained(path, metric=subject_of(name, "compact")).training
    before = {key: value.clone() for key, value in metric.state_dict().items()}
    guarded = at(name).protect(metric)
    with torch.no_grad():
        expected = facts["slope"] * network(images) + facts["offset"]
        assert torch.allclose(guarded(images), expected, atol=1e-3)
        assert not torch.allclose(guarded(images), metric(images), atol=0.1)
    assert all(torch.equal(value, before[key]) for key, value in metric.state_dict().items())


def test_scores_are_on_the_metrics_scale_and_the_own_range_is_beside(
    write: Callable[..., Path], metric: Metric, images: torch.Tensor
) -> None:
    guarded = at(weights=str(write(share=1.0))).protect(metric)
    assert isinstance(guarded, RetrainedMetric)
    assert torch.allclose(guarded(images), 3 * metric(images) - 2, atol=1e-4)
    assert guarded.spec.score_range == metric.spec.score_range
    assert guarded.spec.name == "compact behind at-ssim-4"
    digest = hashlib.sha256(write(share=1.0).read_bytes()).hexdigest()
    assert guarded.facts == {"own_range": [1.0, 41.0], "weights": [["own.safetensors", digest]]}


def test_an_attack_on_it_goes_through_the_trained_weights(
    write: Callable[..., Path], metric: Metric, images: torch.Tensor
) -> None:
    guarded = at(weights=str(write())).protect(metric)
    attack = attacks.create("ifgsm", alpha=2 / 255, steps=3)
    found, other = (attack(target, images, seed=0).images for target in (guarded, metric))
    assert float((guarded(found) - guarded(images)).min()) > 0
    assert float(guarded(found).sum()) > float(guarded(other).sum())


def test_a_file_in_the_users_folder_comes_before_the_bundled_one(
    kept: Path, write: Callable[..., Path], metric: Metric, images: torch.Tensor
) -> None:
    write(kept / "at-ssim-4-compact.safetensors", share=1.0)
    write(kept / "at-lpips-2-compact.safetensors", metric="compact as at-lpips-2")
    write(kept / "at-ssim-4-linearity.safetensors", metric="linearity as at-ssim-4")
    assert torch.allclose(at().protect(metric)(images), 3 * metric(images) - 2, atol=1e-4)
    assert defenses.available("at-lpips-2")
    assert at("at-lpips-2").trained_metrics == ("compact",)
    assert {"compact", "linearity"} <= set(at().trained_metrics)


@pytest.mark.parametrize("name", ["at-ssim-4", "at-lpips-2"])
def test_a_metric_that_was_not_trained_is_named_with_the_command(name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        at(name).protect(metrics.create("lite0"))
    said = str(caught.value)
    assert f"there are no weights of lite0 trained as {name}" in said
    assert f"train metric --iqa-metric lite0 --iqa-defense {name}" in said
    assert f"{name}-lite0.safetensors" in said


def test_at_alone_is_what_its_weights_say(write: Callable[..., Path], metric: Metric) -> None:
    assert at("at", weights=str(write(metric="compact as at"))).protect(metric)
    with pytest.raises(WeightsError, match="trained as at"):
        at("at").protect(metric)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"metric": "compact as at-ssim-8"}, "not of 'compact as at-ssim-4'"),
        ({"metric": "compact"}, "weights of 'compact'"),
        ({"version": "0"}, "trained from version 0 of compact"),
        ({"score_range": "x"}, "garbles"),
    ],
)
def test_weights_of_something_else_are_refused(
    write: Callable[..., Path], metric: Metric, facts: dict[str, Any], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        at(weights=str(write(**facts))).protect(metric)


def test_trained_weights_are_no_weights_of_the_metric_itself(write: Callable[..., Path]) -> None:
    with pytest.raises(WeightsError, match="not of 'compact'"):
        metrics.create("compact", weights=write())


def test_files_that_are_missing_broken_or_of_another_shape_are_refused(
    write: Callable[..., Path], metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        at(weights=str(tmp_path / "none.safetensors")).protect(metric)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot read the weights"):
        at(weights=str(tmp_path / "broken.safetensors")).protect(metric)
    path = write()
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(path)
    tensors.pop("network.head.output.bias")
    path.write_bytes(save(tensors, metadata=facts))
    with pytest.raises(WeightsError, match="do not fit"):
        at(weights=str(path)).protect(metric)
    monkeypatch.setattr(adversarial_training, "BUNDLED", {("at-ssim-4", "compact"): "0" * 64})
    with pytest.raises(WeightsError, match="is expected"):
        at().protect(metric)
