"""A (metric, defense) pair: loaded late, and identified so that another metric never answers for it."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from iqa_robustness import defenses, metrics
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.defenses.base import DefendedMetric
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.errors import (
    BatchDependenceError,
    ConfigurationError,
    NonFiniteScoreError,
    RangeTooWideError,
    UnknownNameError,
)
from iqa_robustness.metrics.planted import Robust
from iqa_robustness.metrics.ranges import Ranges
from iqa_robustness.registry import Family
from iqa_robustness.store import Key

ROBUST = "iqa_robustness.metrics.planted:Robust"
ROBUST_SPEC = Robust.spec

OWN = '''
"""Somebody's own metrics."""
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Robust, Vulnerable

LOADED = []
SLOPE = 100.0


class Mean(Metric):
    spec = MetricSpec(name="own-mean", score_range=(0.0, 100.0))

    def __init__(self):
        super().__init__()
        LOADED.append("Mean")

    def forward(self, images):
        return SLOPE * images.mean(dim=(1, 2, 3))


class BatchNormed(Mean):
    def forward(self, images):
        return super().forward(images) - 50 * images.mean()


class Broken(Mean):
    def forward(self, images):
        return super().forward(images) / 0 * 0


class Sampled(Mean):
    spec = MetricSpec(name="own-sampled", score_range=(0.0, 100.0), stochastic=True)

    def forward(self, images, *, streams):
        return super().forward(images) + streams.normal()


def make():
    """A bundled class, with what may be other weights."""
    metric = Vulnerable()
    metric.signs *= SLOPE / 100
    return metric
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's module `own_pair_metrics`."""
    (tmp_path / "own_pair_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_pair_metrics", raising=False)
    module = importlib.import_module("own_pair_metrics")
    yield module
    sys.modules.pop("own_pair_metrics", None)


def subject(name: str) -> Subject:
    return Subject(name, device="cpu")


def pair(metric: str, defense: str, *, n0: int = 20, n: int = 200) -> Pair:
    return Pair(subject(metric), defense, n0=n0, n=n)


# --- loading --------------------------------------------------------------------------------------------------------


def test_the_metric_is_loaded_when_first_needed_and_once(own: ModuleType) -> None:
    first = Pair(subject("own_pair_metrics:Mean"), "flip", n0=1, n=1)
    second = Pair(first.subject, "jpeg", n0=1, n=1)
    assert first.defense.name == "flip"
    assert own.LOADED == []
    assert first.guarded.metric is second.guarded.metric
    assert own.LOADED == ["Mean"]
    assert isinstance(first.guarded, DefendedMetric)


def test_an_unknown_name_is_an_error_of_the_names(own: ModuleType) -> None:
    with pytest.raises(UnknownNameError):
        _ = subject("compcat").metric
    with pytest.raises(UnknownNameError, match="'Maen'") as caught:
        _ = subject("own_pair_metrics:Maen").metric
    assert "did you mean Mean" in str(caught.value)


def test_a_certified_defense_gets_the_profiles_samples_and_others_are_not_given_any() -> None:
    smoothed = pair(ROBUST, "ms", n=33).defense
    assert isinstance(smoothed, MedianSmoothing)
    assert smoothed.n == 33
    assert pair(ROBUST, "jpeg").document["defense"]["fields"] == {"paper": False, "quality": 50}


@pytest.mark.parametrize("metric", ["own-mean", "own_pair_metrics:Mean"])
def test_a_declared_range_much_wider_than_the_calibrated_one_is_refused(own: ModuleType, metric: str) -> None:
    row = "kind: calibrated, low: 30, high: 70, version: '1', source: s, images: 50, quantiles: [0.01, 0.99]"
    ranges = Ranges.parsed(f"schema: 1\nranges:\n- {{metric: {metric!r}, {row}}}\n", name="text")
    with pytest.raises(RangeTooWideError, match=r"width 100; .* width 40: 2.50 times"):
        _ = Subject("own_pair_metrics:Mean", device="cpu", ranges=ranges).metric
    assert subject("own_pair_metrics:Mean").metric.spec.diam == 100


# --- identity -------------------------------------------------------------------------------------------------------


def test_an_undefended_metric_is_just_the_metric() -> None:
    assert pair(ROBUST, "none").document == {"metric": subject(ROBUST).document}
    assert set(pair(ROBUST, "flip").document) == {"metric", "defense"}


def test_a_bundled_metric_is_its_name_version_weights_range_and_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    assert subject(ROBUST).document == {
        "name": ROBUST,
        "version": "1",
        "weights": [],
        "score_range": [0.0, 60.0],
        "higher_is_better": True,
    }
    before = Key(subject(ROBUST).document).digest
    for change in (
        {"version": "2"},
        {"score_range": (0.0, 61.0)},
        {"higher_is_better": False},
        {"weights": (metrics.base.WeightsFile(name="w", sha256="ab"),)},
    ):
        monkeypatch.setattr(Robust, "spec", replace(ROBUST_SPEC, **change))
        assert Key(subject(ROBUST).document).digest != before, change


def test_prose_about_a_metric_does_not_make_it_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = subject(ROBUST).document
    monkeypatch.setattr(Robust, "spec", replace(ROBUST_SPEC, paper="doi", licence="MIT", input_policy="any"))
    assert subject(ROBUST).document == before


def test_a_users_metric_is_also_its_scores_on_fixed_images(own: ModuleType) -> None:
    document = subject("own_pair_metrics:Mean").document
    assert len(document["fingerprint"]) == 8
    assert all(isinstance(step, int) for step in document["fingerprint"])
    assert document["distribution"] == ""
    assert subject("own_pair_metrics:Mean").document == document
    assert Key(document).text  # plain JSON


@pytest.mark.parametrize("name", ["Mean", "make", "Sampled"])
def test_a_users_metric_whose_scores_change_is_another_even_at_the_same_version(own: ModuleType, name: str) -> None:
    before = subject(f"own_pair_metrics:{name}").document
    own.SLOPE = 101.0
    after = subject(f"own_pair_metrics:{name}").document
    assert before["version"] == after["version"]
    assert before["fingerprint"] != after["fingerprint"]


def test_a_collections_metric_is_also_its_scores_and_the_collections_version(
    own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.check, own.of_name = lambda name: None, lambda name: own.Mean()
    # A module of the package, as that of the adapter is, whose target is nevertheless somebody else's code.
    monkeypatch.setitem(sys.modules, f"{metrics.__name__}.own_pair_metrics", own)
    entry = metrics.MetricEntry(name="pytest", target=f"{metrics.__name__}.own_pair_metrics:of_name")
    family = Family(entry=entry, catalogue="own_pair_metrics")
    monkeypatch.setitem(metrics.registry._families, "pytest", family)
    before = subject("pytest:mean").document
    assert before["name"] == "pytest:mean"
    assert before["distribution"] == f"pytest {pytest.__version__}"
    own.SLOPE = 101.0
    assert subject("pytest:mean").document["fingerprint"] != before["fingerprint"]


def test_a_change_below_float_noise_is_not_another_metric(own: ModuleType) -> None:
    before = subject("own_pair_metrics:Mean").document
    own.SLOPE = 100.0 * (1 + 1e-7)
    assert subject("own_pair_metrics:Mean").document == before


def test_a_users_function_that_returns_a_bundled_class_is_fingerprinted(own: ModuleType) -> None:
    assert "fingerprint" in subject("own_pair_metrics:make").document
    assert "fingerprint" not in subject("iqa_robustness.metrics.planted:Vulnerable").document


def test_a_metric_that_came_with_a_distribution_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from iqa_robustness.bench import pair as module

    assert module._distribution_of("torch.nn.modules") == f"torch {importlib.metadata.version('torch')}"
    assert module._distribution_of("no_such_package_anywhere") == ""


# --- the probe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "error"), [("BatchNormed", BatchDependenceError), ("Broken", NonFiniteScoreError)])
def test_a_metric_that_breaks_its_contract_is_found_before_anything_is_computed(
    own: ModuleType, name: str, error: type[Exception]
) -> None:
    bad = subject(f"own_pair_metrics:{name}")
    for ask in (lambda: bad.probe, lambda: bad.document):
        with pytest.raises(error) as caught:
            ask()
        assert caught.value.where.metric == "own-mean"
        assert caught.value.where.image.startswith("probe-")


def test_the_probe_is_done_once(own: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    forward: Callable[..., torch.Tensor] = own.Mean.forward
    monkeypatch.setattr(own.Mean, "forward", lambda self, images: scored.append(len(images)) or forward(self, images))
    one = subject("own_pair_metrics:Mean")
    _ = one.document, one.probe
    after = len(scored)
    _ = one.document, one.probe, Pair(one, "flip", n0=1, n=1).document
    assert after > 0
    assert len(scored) == after


def test_a_defense_that_does_not_exist_is_an_error_of_the_names() -> None:
    with pytest.raises(UnknownNameError, match="defense"):
        _ = pair(ROBUST, "flop").defense
    with pytest.raises(ConfigurationError):
        _ = pair("iqa_robustness.bench.cell:Cell", "flip").guarded


def test_trained_weights_are_part_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which ones are taken depends on the metric and on the user's folder; the defense alone cannot say."""
    monkeypatch.setenv("IQA_ROBUSTNESS_WEIGHTS", str(tmp_path))
    name = next(entry.name for entry in defenses.list() if entry.kind == "training" and defenses.available(entry.name))
    file = f"{name}-compact.safetensors"

    def documented() -> dict[str, Any]:
        return Pair(Subject("compact", device="cpu"), name, n0=5, n=40).document

    bundled = documented()
    assert bundled["trained"]["weights"][0][0] == file
    assert Pair(Subject("compact", device="cpu"), "flip", n0=5, n=40).document.keys() == {"metric", "defense"}
    content = bytearray((Path(defenses.__file__).parent / "bundled" / file).read_bytes())
    content[-1] ^= 1
    (tmp_path / file).write_bytes(bytes(content))
    changed = documented()
    assert changed["trained"]["weights"] != bundled["trained"]["weights"]
    assert (changed["metric"], changed["defense"]) == (bundled["metric"], bundled["defense"])
