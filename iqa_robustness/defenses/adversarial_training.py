"""Adversarial training: the metric with weights that it got by learning under attack."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import DefendedMetric, Defense, DefenseKind
from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.trained import TrainedWeights, read_trained
from iqa_robustness.metrics.weights import folder
from iqa_robustness.streams import Streams

FOLDER = Path(__file__).parent / "bundled"
# SHA-256 of the bundled files by defense and metric (docs/adversarial-training.md).
BUNDLED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("at-lite0-2", "compact"): "4addf70cad45c5fb85709bff9cf410a91e07a09d00f9e47ef34097e491d1038e",
        ("at-lite0-4", "compact"): "168537c365497c8b4f6f92b6f1dd85b47e4c1f3c2b815b7e7a326a70754eb649",
        ("at-lite0-8", "compact"): "0627fc58aa27c3415d8c89a06ee72ed4f32d76807e8b964e3f9bc0107acc80ec",
        ("at-ssim-2", "compact"): "18cff950db985770a1bf2b26e793598d49828528be81cac15bda1494862fbc03",
        ("at-ssim-4", "compact"): "0f6f32837b19f25f7d805743edcbd42ddb870ea8296bf6cb1e21e3ffb8c723e3",
        ("at-ssim-8", "compact"): "7aece0f2f5583fd369faf007ab6fa38b575cef058f5e34164078391ec1d5b17d",
    }
)


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Defense):
    """The metric itself, with weights from `iqa-robustness train metric`, on the scale of the untrained one.

    White-box attacks on the protected metric go through the trained weights; a non-adaptive attack is made against
    the untrained metric, as for every other defense.

    Without `weights`, the file FILE = `NAME-METRIC.safetensors` is taken, for one `at-ssim-4-compact.safetensors`: the
    one in `metrics.weights.folder()`, else the bundled one. `at` is whatever `weights` says: the registered names stand
    for the six published configurations, ablations have none.

    The protected metric declares the untrained one's score range, so that D_score of both is on one scale; the range
    that the trained metric has on its training images is beside it in the record (`d_score_own`).

    Source: Guardians of Image Quality (arXiv 2408.01541); benchmark section 4.5. `paper=True` changes nothing: how a
    network was trained is in its file.
    Cost: the metric's own.

    weights: a file for the metric that is protected.

    Raises: WeightsError from `protect`, where there are no weights for the metric, or they are another metric's.
    """

    name: ClassVar[str] = "at"
    version: ClassVar[int] = 1
    kind: ClassVar[DefenseKind] = "training"
    # Of the labels of attacked images, and the radius of the attack that is trained against; empty where the file says.
    penalty: ClassVar[str] = ""
    epsilon: ClassVar[float] = 0.0

    weights: str = ""

    @property
    def trained_metrics(self) -> tuple[str, ...]:
        """Names of metrics that it can protect without `weights`, sorted."""
        prefix, suffix = f"{self.name}-", ".safetensors"
        bundled = {metric for defense, metric in BUNDLED if defense == self.name}
        kept = {path.name for path in folder().glob(f"{prefix}*{suffix}")} if self.penalty else set()
        return tuple(sorted(bundled | {name.removeprefix(prefix).removesuffix(suffix) for name in kept}))

    def trained(self, metric: Metric) -> TrainedWeights:
        """The weights for a metric. Raises WeightsError."""
        name = metric.spec.name
        where = Where(metric=name, defense=self.name)
        path, sha256 = Path(self.weights).expanduser(), ""
        if not self.weights:
            file = file_of(self.name, name)
            path = folder() / file
            if not (self.penalty and path.is_file()):
                sha256 = BUNDLED.get((self.name, name), "")
                path = FOLDER / file
            if not path.is_file():
                command = f"iqa-robustness train metric --iqa-metric {name} --iqa-defense {self.name} --iqa-dataset REF"
                raise WeightsError(
                    f"there are no weights of {name} trained as {self.name}: {file} is missing",
                    where=where,
                    fix=f"run `{command} --output {file}`; give weights={file}, or put it into {folder()}",
                )
        found = read_trained(path, metric=subject_of(self.name, name), sha256=sha256)
        if found.version != metric.spec.version:
            raise WeightsError(
                f"the weights were trained from version {found.version} of {name}, this is {metric.spec.version}",
                where=where,
                fix="train them again",
            )
        return found

    def protect(self, metric: Metric) -> RetrainedMetric:
        """The trained metric."""
        return RetrainedMetric(metric, self, self.trained(metric))


class RetrainedMetric(DefendedMetric):
    """slope · f(x; trained weights) + offset.

    Args:
        metric: the untrained one; it is not changed.
        defense: that trained it.
        trained: its weights; `training` has the slope and the offset that bring them to the metric's scale.

    Raises:
        WeightsError: the weights do not fit.
    """

    def __init__(self, metric: Metric, defense: Defense, trained: TrainedWeights) -> None:
        super().__init__(metric, defense)
        self.network = copy.deepcopy(metric)
        trained.load_into(self.network)
        self.slope, self.offset = (float(trained.training[name]) for name in ("slope", "offset"))
        self.own_range = trained.score_range
        self.spec = dataclasses.replace(self.spec, weights=(trained.file(),))

    @property
    def facts(self) -> dict[str, Any]:
        """Weights and own range."""
        return {
            "own_range": [*self.own_range],
            "weights": [[file.name, file.sha256] for file in self.spec.weights],
        }

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,), on the untrained metric's scale."""
        return self.slope * self.network.evaluate(images, streams=streams, reference=reference) + self.offset


def file_of(defense: str, metric: str) -> str:
    """The name of the file of a trained metric."""
    return f"{defense}-{metric.replace(':', '-')}.safetensors"


def subject_of(defense: str, metric: str) -> str:
    """What such a file says it is; not the metric's name, which would take it for weights of its own."""
    return f"{metric} as {defense}"


@dataclass(frozen=True, kw_only=True)
class AtSsim2(AdversarialTraining):
    """Label penalty 1 − SSIM, attacks of 2/255."""

    name: ClassVar[str] = "at-ssim-2"
    penalty: ClassVar[str] = "ssim"
    epsilon: ClassVar[float] = 2 / 255


@dataclass(frozen=True, kw_only=True)
class AtSsim4(AtSsim2):
    """Label penalty 1 − SSIM, attacks of 4/255."""

    name: ClassVar[str] = "at-ssim-4"
    epsilon: ClassVar[float] = 4 / 255


@dataclass(frozen=True, kw_only=True)
class AtSsim8(AtSsim2):
    """Label penalty 1 − SSIM, attacks of 8/255."""

    name: ClassVar[str] = "at-ssim-8"
    epsilon: ClassVar[float] = 8 / 255


@dataclass(frozen=True, kw_only=True)
class AtLpips2(AdversarialTraining):
    """Label penalty LPIPS (VGG), attacks of 2/255."""

    name: ClassVar[str] = "at-lpips-2"
    penalty: ClassVar[str] = "lpips"
    epsilon: ClassVar[float] = 2 / 255


@dataclass(frozen=True, kw_only=True)
class AtLpips4(AtLpips2):
    """Label penalty LPIPS (VGG), attacks of 4/255."""

    name: ClassVar[str] = "at-lpips-4"
    epsilon: ClassVar[float] = 4 / 255


@dataclass(frozen=True, kw_only=True)
class AtLpips8(AtLpips2):
    """Label penalty LPIPS (VGG), attacks of 8/255."""

    name: ClassVar[str] = "at-lpips-8"
    epsilon: ClassVar[float] = 8 / 255


@dataclass(frozen=True, kw_only=True)
class AtLite02(AdversarialTraining):
    """Label penalty by distance in EfficientNet-Lite0's features, which is not LPIPS; attacks of 2/255."""

    name: ClassVar[str] = "at-lite0-2"
    penalty: ClassVar[str] = "lite0-features"
    epsilon: ClassVar[float] = 2 / 255


@dataclass(frozen=True, kw_only=True)
class AtLite04(AtLite02):
    """The same against attacks of 4/255."""

    name: ClassVar[str] = "at-lite0-4"
    epsilon: ClassVar[float] = 4 / 255


@dataclass(frozen=True, kw_only=True)
class AtLite08(AtLite02):
    """The same against attacks of 8/255."""

    name: ClassVar[str] = "at-lite0-8"
    epsilon: ClassVar[float] = 8 / 255
