"""`onnx:PATH`: a metric that is an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, MetricDeclarationError, ScoreShapeError, WeightsError, Where
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.metrics.declaration import EXAMPLE, declared_spec
from iqa_robustness.metrics.weights import sha256_of

FIX = "pip install 'iqa-robustness[onnx]'"
_PREFIX = "iqa_"


class OnnxMetric(Metric):
    """Runs a model on the CPU, one thread; query-only.

    The model takes one tensor (N, 3, H, W) float32, RGB in [0, 1], and its first output is one number an image, of
    shape (N,), (N, 1) or the like. With a second such input, the reference, it is a full-reference metric.
    Its metadata (`metadata_props`) hold `iqa_score_range` (`[0, 100]`) and `iqa_higher_is_better` (`true`), as JSON; or
    a file beside it does, `model.json` for `model.onnx`, without the prefix, and wins where both speak. `version`,
    `licence` and `input_policy` may be given too.

    Images: (N, 3, H, W) float32 RGB in [0, 1]. A model of fixed height and width gets them resized (bilinear,
    antialiased); one of a fixed number of images gets that many, filled with zero images.

    Args:
        path: of the model; its SHA-256 is part of every key.

    Raises:
        ConfigurationError: onnxruntime is not installed.
        WeightsError: no such file, or not a model of this kind.
        MetricDeclarationError: range or direction are missing or make no sense.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        where = Where(metric=f"onnx:{path}", file=str(self.path))
        if not self.path.is_file():
            raise WeightsError(
                "there is no such model file", where=where, fix="write onnx:PATH, from the current folder"
            )
        self._session = _session(self.path, where)
        inputs = self._session.get_inputs()
        if len(inputs) not in (1, 2) or not all(_takes_images(entry) for entry in inputs):
            found = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
            raise WeightsError(
                f"the model takes ({found})", where=where, fix="export it with one input, or two: float32, (N, 3, H, W)"
            )
        self._inputs, self._output = [entry.name for entry in inputs], self._session.get_outputs()[0].name
        shape = inputs[0].shape
        self._rows, self._height, self._width = (_fixed(shape[axis]) for axis in (0, 2, 3))
        size = f"{self._height or 'any'} × {self._width or 'any'}"
        said = _from_metadata(self._session.get_modelmeta().custom_metadata_map, where)
        self.spec = declared_spec(
            said | _from_file(self.path.with_suffix(".json"), where.metric) | {"full_reference": len(inputs) == 2},
            name=where.metric,
            file=where.file,
            fix=f"write {EXAMPLE} into {self.path.with_suffix('.json').name} beside the model, "
            f"or {_PREFIX}score_range and {_PREFIX}higher_is_better into its metadata_props",
            input_policy="any size, no resizing" if size == "any × any" else f"resized to {size} pixels",
            weights=(WeightsFile(name=self.path.name, sha256=sha256_of(self.path)),),
        )

    def forward(self, images: Tensor, *, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,) without a graph. Raises ScoreShapeError when the output is not one number an image."""
        arrays = [self._sized(given) for given in (images, reference) if given is not None]
        count = len(images)
        step = self._rows or max(count, 1)
        parts = [self._scored([array[start : start + step] for array in arrays]) for start in range(0, count, step)]
        scores = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        return torch.from_numpy(scores).to(images.device, torch.float32)

    def _sized(self, images: Tensor) -> np.ndarray:
        size = (self._height or images.shape[2], self._width or images.shape[3])
        pixels = images.detach()
        if size != tuple(images.shape[2:]):
            pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        return np.ascontiguousarray(pixels.cpu().numpy())

    def _scored(self, batches: list[np.ndarray]) -> np.ndarray:
        count = len(batches[0])
        rows = max(self._rows, count)
        filled = [np.concatenate([batch, np.zeros((rows - count, *batch.shape[1:]), np.float32)]) for batch in batches]
        output = np.asarray(self._session.run([self._output], dict(zip(self._inputs, filled, strict=True)))[0])
        if output.size != rows:
            raise ScoreShapeError(
                f"the model's output {self._output!r} is {output.shape} for {rows} images",
                where=Where(metric=self.spec.name),
                fix="export a model whose first output is one number an image",
            )
        scores: np.ndarray = output.reshape(-1)[:count].astype(np.float32)
        return scores


def _session(path: Path, where: Where) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(f"ONNX models need onnxruntime: {error}", where=where, fix=FIX) from error
    options = onnxruntime.SessionOptions()
    # Several threads add in another order from run to run; parallelism comes from workers.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        raise WeightsError(
            f"onnxruntime cannot load the model: {error}", where=where, fix="check the file, or export it again"
        ) from error


def _takes_images(entry: Any) -> bool:
    return entry.type == "tensor(float)" and len(entry.shape) == 4 and _fixed(entry.shape[1]) in (0, 3)


def _fixed(axis: object) -> int:
    """The size of an axis, 0 where it is dynamic: a name, None or −1."""
    return axis if isinstance(axis, int) and axis > 0 else 0


def _from_metadata(metadata: Mapping[str, str], where: Where) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, text in metadata.items():
        if not key.startswith(_PREFIX):
            continue
        name = key.removeprefix(_PREFIX)
        if name not in ("score_range", "higher_is_better"):
            said[name] = text
            continue
        try:
            said[name] = json.loads(text)
        except ValueError:
            raise MetricDeclarationError(
                f"the model's metadata {key} is no JSON: {text!r}", where=where, fix=f"write it as in {EXAMPLE}"
            ) from None
    return said


def _from_file(path: Path, metric: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MetricDeclarationError(
            f"the declaration beside the model cannot be read: {error}",
            where=Where(metric=metric, file=str(path)),
            fix=f"write {EXAMPLE}",
        ) from None
    if not isinstance(said, dict):
        raise MetricDeclarationError(
            "the declaration beside the model is no JSON object",
            where=Where(metric=metric, file=str(path)),
            fix=f"write {EXAMPLE}",
        )
    return said
