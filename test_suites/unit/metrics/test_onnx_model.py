"""`onnx:`: a model file becomes a metric; a stand-in for ONNX Runtime, and the real one."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, MetricDeclarationError, ScoreShapeError, WeightsError
from iqa_robustness.metrics.probe import probe_images

DECLARED = {"iqa_score_range": "[0, 100]", "iqa_higher_is_better": "false", "iqa_version": "7", "producer": "me"}


class Runtime:
    """What `OnnxMetric` uses of onnxruntime: a model that averages its input."""

    def __init__(self) -> None:
        self.shape: list[object] = ["N", 3, "H", "W"]
        self.kind = "tensor(float)"
        self.metadata = dict(DECLARED)
        self.columns: tuple[int, ...] = (1,)
        self.seen: list[tuple[int, ...]] = []

    def SessionOptions(self) -> SimpleNamespace:
        return SimpleNamespace()

    def InferenceSession(self, path: str, options: Any, providers: list[str]) -> Any:
        if Path(path).read_bytes() != b"model":
            raise RuntimeError("protobuf parsing failed")
        assert (options.intra_op_num_threads, providers) == (1, ["CPUExecutionProvider"])

        def run(names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            (batch,) = feeds.values()
            assert (names, batch.dtype) == (["score"], np.float32)
            self.seen.append(batch.shape)
            means = 100 * batch.mean(axis=(1, 2, 3))
            return [np.broadcast_to(means.reshape(-1, *[1] * len(self.columns)), (len(batch), *self.columns))]

        return SimpleNamespace(
            get_inputs=lambda: [SimpleNamespace(name="images", type=self.kind, shape=self.shape)],
            get_outputs=lambda: [SimpleNamespace(name="score")],
            get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=self.metadata),
            run=run,
        )


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    made = Runtime()
    monkeypatch.setitem(sys.modules, "onnxruntime", made)  # type: ignore[arg-type]
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    return path


def test_a_model_scores_and_declares_itself_in_its_metadata(runtime: Runtime, model: Path) -> None:
    metric = metrics.create(f"onnx:{model}")
    spec = metric.spec
    assert (spec.name, spec.score_range, spec.higher_is_better) == (f"onnx:{model}", (0.0, 100.0), False)
    assert (spec.version, spec.access) == ("7", "query-only")
    assert [(f.name, f.sha256) for f in spec.weights] == [("model.onnx", hashlib.sha256(b"model").hexdigest())]
    images = probe_images()[:3]
    assert metric(images).allclose(100 * images.mean(dim=(1, 2, 3)), rtol=1e-4)
    assert runtime.seen == [(3, 3, 224, 256)]


@pytest.mark.parametrize("columns", [(), (1,), (1, 1)])
def test_one_number_an_image_in_any_shape(runtime: Runtime, model: Path, columns: tuple[int, ...]) -> None:
    runtime.columns = columns
    assert metrics.create(f"onnx:{model}")(probe_images()[:2]).shape == (2,)


def test_a_fixed_size_is_met(runtime: Runtime, model: Path) -> None:
    runtime.shape = [2, 3, 32, 48]
    metric = metrics.create(f"onnx:{model}")
    assert metric(probe_images()[:3]).shape == (3,)
    assert runtime.seen == [(2, 3, 32, 48)] * 2
    assert "32 × 48" in metric.spec.input_policy


def test_a_file_beside_the_model_declares_too_and_wins(runtime: Runtime, model: Path) -> None:
    runtime.metadata = {"iqa_score_range": "[0, 1]"}
    model.with_suffix(".json").write_text(json.dumps({"score_range": [1, 5], "higher_is_better": True}))
    spec = metrics.create(f"onnx:{model}").spec
    assert (spec.score_range, spec.higher_is_better) == ((1.0, 5.0), True)


def test_what_is_not_declared_is_asked_for(runtime: Runtime, model: Path) -> None:
    del runtime.metadata["iqa_score_range"]
    with pytest.raises(MetricDeclarationError, match="does not declare its score_range") as caught:
        metrics.create(f"onnx:{model}")
    assert "model.json" in caught.value.fix
    assert "iqa_score_range" in caught.value.fix


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_file_beside_the_model_is_named(runtime: Runtime, model: Path, text: str) -> None:
    model.with_suffix(".json").write_text(text)
    with pytest.raises(MetricDeclarationError) as caught:
        metrics.create(f"onnx:{model}")
    assert caught.value.where.file.endswith("model.json")


def test_metadata_that_are_no_json_are_named(runtime: Runtime, model: Path) -> None:
    runtime.metadata["iqa_higher_is_better"] = "yes"
    with pytest.raises(MetricDeclarationError, match="iqa_higher_is_better is no JSON"):
        metrics.create(f"onnx:{model}")


def test_an_output_of_several_numbers_is_refused(runtime: Runtime, model: Path) -> None:
    runtime.columns = (5,)
    with pytest.raises(ScoreShapeError, match=r"\(2, 5\) for 2 images"):
        metrics.create(f"onnx:{model}")(probe_images()[:2])


@pytest.mark.parametrize(
    ("kind", "shape"), [("tensor(uint8)", [1, 3, 8, 8]), ("tensor(float)", [1, 8, 8, 3]), ("tensor(float)", ["N", 3])]
)
def test_another_input_is_refused(runtime: Runtime, model: Path, kind: str, shape: list[object]) -> None:
    runtime.kind, runtime.shape = kind, shape
    with pytest.raises(WeightsError, match="the model takes"):
        metrics.create(f"onnx:{model}")


def test_missing_and_broken_files_are_named(runtime: Runtime, model: Path) -> None:
    with pytest.raises(WeightsError, match="no such model file"):
        metrics.create(f"onnx:{model}.gone")
    model.write_bytes(b"else")
    with pytest.raises(WeightsError, match="cannot load the model: protobuf"):
        metrics.create(f"onnx:{model}")


def test_without_onnxruntime_the_extra_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match="need onnxruntime") as caught:
        metrics.create(f"onnx:{model}")
    assert "[onnx]" in caught.value.fix


def test_the_real_runtime_agrees_with_torch(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    shape = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["score"], axes=[1, 2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["N"])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(made, {"iqa_score_range": "[0, 1]", "iqa_higher_is_better": "true"})
    onnx.save(made, str(tmp_path / "mean.onnx"))
    images = probe_images()
    found = metrics.create(f"onnx:{tmp_path / 'mean.onnx'}")(images)
    assert torch.allclose(found, images.mean(dim=(1, 2, 3)), atol=1e-5)
