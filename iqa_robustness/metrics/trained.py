"""Files of weights trained by this package: tensors, and beside them the frozen score range and what was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import WeightsFile

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """The content of a file that `iqa-robustness train metric-head` or `train metric` wrote.

    metric: which metric the tensors belong to.
    version: of the metric's numbers; raised whenever they change.
    score_range: (low, high) in score units, measured when the weights were made.
    training: what the file itself says of its training data (`digest`, `contents` …).
    """

    path: Path
    sha256: str
    metric: str
    version: str
    score_range: tuple[float, float]
    training: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def file(self) -> WeightsFile:
        """Name and digest, for a `MetricSpec`."""
        return WeightsFile(name=self.path.name, sha256=self.sha256, origin="iqa-robustness train")

    def load_into(self, module: nn.Module) -> None:
        """Copy the tensors into a module; every name and shape has to fit.

        Raises:
            WeightsError: they do not.
        """
        try:
            module.load_state_dict(dict(self.tensors))
        except RuntimeError as error:
            raise WeightsError(
                f"the weights do not fit {self.metric}: {error}",
                where=Where(metric=self.metric, file=str(self.path)),
                fix="train them again with this version of the package",
            ) from error


def read_trained(path: Path, *, metric: str, sha256: str = "") -> TrainedWeights:
    """Read a safetensors file and the facts in its header.

    Args:
        path: the file.
        metric: the metric it has to belong to.
        sha256: the digest it has to have (hex); any when empty.

    Raises:
        WeightsError: missing, unreadable, another digest, another metric, or facts missing.
    """
    where = Where(metric=metric, file=str(path))
    try:
        content = path.read_bytes()
        with safe_open(path, framework="pt") as file:
            facts: Mapping[str, Any] = file.metadata() or {}
        tensors = load(content)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read the weights: {error}", where=where, fix="reinstall, or train them again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise WeightsError(
            f"the weights have sha256 {found}, {sha256} is expected", where=where, fix="reinstall the package"
        )
    try:
        # One entry where equal content has to mean equal bytes: several are written in any order.
        facts = {**json.loads(facts["facts"])} if "facts" in facts else facts
        subject = facts.get("metric", "an unnamed metric")
        if subject != metric:
            raise WeightsError(f"these are weights of {subject!r}, not of {metric!r}", where=where)
        low, high = (float(bound) for bound in _plain(facts["score_range"]))
        training: Mapping[str, Any] = _plain(facts["training"])
        version = facts["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the file's header lacks or garbles {error}", where=where, fix="train the weights again"
        ) from error
    return TrainedWeights(
        path=path,
        sha256=found,
        metric=metric,
        version=version,
        score_range=(low, high),
        training=training,
        tensors=tensors,
    )


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
