"""Image-quality metrics by name. A new metric is one file here and one line below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.registry import Entry, Family, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from iqa_robustness.metrics.base import Access, Metric

__all__ = ["MetricEntry", "access", "create", "from_function", "list", "registry"]


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """A registered metric.

    licence: of code and weights together, as a user of the scores meets it; empty for a user's own metric.
    access: `white-box`, or `query-only` for metrics without gradients; known without importing torch.
    """

    licence: str = ""
    access: Access = "white-box"


registry = Registry("metric", MetricEntry, "iqa_robustness.metrics")
for _entry in (
    MetricEntry(
        name="brisque",
        target="iqa_robustness.metrics.brisque:Brisque",
        summary="BRISQUE, regression on natural-scene statistics; lower is better (parameters not included)",
        licence="LIVE",
    ),
    MetricEntry(
        name="cnniqa",
        target="iqa_robustness.metrics.cnniqa:CnnIqa",
        summary="CNNIQA, a shallow CNN over grey patches; lower is better (weights not included)",
        licence="none stated",
    ),
    MetricEntry(
        name="compact",
        target="iqa_robustness.metrics.compact:Compact",
        summary="small bundled CNN, fast enough to be attacked hundreds of times in a test suite",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="fpr",
        target="iqa_robustness.metrics.fpr:Fpr",
        summary="FPR, hallucinated pristine features (weights not included)",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="koncept",
        target="iqa_robustness.metrics.koncept:KonCept",
        summary="KonCept512, Inception-ResNet-v2 trained on KonIQ-10k (weights not included)",
        licence="MIT",
    ),
    MetricEntry(
        name="linearity",
        target="iqa_robustness.metrics.linearity:Linearity",
        summary="LinearityIQA, ResNeXt-101 trained on KonIQ-10k with the norm-in-norm loss (weights not included)",
        licence="MIT",
    ),
    MetricEntry(
        name="lite0",
        target="iqa_robustness.metrics.lite0:Lite0",
        summary="EfficientNet-Lite0 (ImageNet) with a bundled multi-stage MOS head",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="maniqa",
        target="iqa_robustness.metrics.maniqa:Maniqa",
        summary="MANIQA, multi-dimension attention over ViT features (weights not included)",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="meta-iqa",
        target="iqa_robustness.metrics.meta_iqa:MetaIqa",
        summary="MetaIQA, ResNet-18 meta-learned over distortions (weights not included)",
        licence="none stated",
    ),
    MetricEntry(
        name="nima",
        target="iqa_robustness.metrics.nima:Nima",
        summary="NIMA, distribution of opinions by MobileNet, idealo's weights (not included; needs h5py)",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="niqe",
        target="iqa_robustness.metrics.niqe:Niqe",
        summary="NIQE, distance from the statistics of pristine photographs; lower is better (parameters not included)",
        licence="LIVE",
    ),
    MetricEntry(
        name="paq2piq",
        target="iqa_robustness.metrics.paq2piq:Paq2Piq",
        summary="PaQ-2-PiQ, ResNet-18 with RoI pooling, whole-image score (weights not included)",
        licence="MIT",
    ),
    MetricEntry(
        name="psnr",
        target="iqa_robustness.metrics.psnr:Psnr",
        summary="PSNR in dB against the reference (full-reference)",
        licence="Apache-2.0",
    ),
    MetricEntry(
        name="spaq",
        target="iqa_robustness.metrics.spaq:Spaq",
        summary="SPAQ baseline, ResNet-50 over patches, smartphone photographs (weights not included)",
        licence="research and education only",
    ),
    MetricEntry(
        name="ssim",
        target="iqa_robustness.metrics.ssim:Ssim",
        summary="structural similarity to the reference (full-reference)",
        licence="Apache-2.0",
    ),
):
    registry.register(_entry)
for _family in (
    Family(
        entry=MetricEntry(
            name="exec",
            target="iqa_robustness.metrics.external:ExternalMetric",
            summary="a program in any language: exec:COMMAND",
            access="query-only",
        ),
    ),
    Family(
        entry=MetricEntry(
            name="onnx",
            target="iqa_robustness.metrics.onnx_model:OnnxMetric",
            summary="a model file for ONNX Runtime: onnx:PATH",
            access="query-only",
        ),
    ),
    Family(
        entry=MetricEntry(
            name="pyiqa",
            target="iqa_robustness.metrics.pyiqa_adapter:PyIQA",
            summary="a metric of IQA-PyTorch (extra pyiqa, non-commercial; weights not included)",
            licence="PolyForm-Noncommercial-1.0.0",
        ),
        catalogue="iqa_robustness.metrics.pyiqa_table",
    ),
):
    registry.register_family(_family)


def create(name: str, *, device: torch.device | str = "cpu", **options: Any) -> Metric:
    """A metric ready for scoring: on `device`, in eval mode, with frozen parameters.

    Args:
        name: a registered name, `pyiqa:NAME` for a metric of that collection, `package.module:attribute`
            (a subclass of `Metric`, a function that returns a metric, or a metric), `exec:COMMAND` or `onnx:PATH`.
        device: torch device.
        options: passed to the metric's constructor, for one `weights=` where a metric needs a file.

    Raises:
        UnknownNameError: no such metric (with the closest names).
        ConfigurationError: the target is no metric, or does not take the options.
        MetricDeclarationError, WeightsError, ProgramCrashError and others: see `external` and `onnx_model`.
    """
    from iqa_robustness.metrics.base import Metric, MetricSpec

    factory = registry.load(name)
    try:
        metric = factory if isinstance(factory, Metric) else factory(**options)
    except TypeError as error:
        raise ConfigurationError(f"metric {name!r} cannot be constructed: {error}") from error
    if not isinstance(metric, Metric) or not isinstance(getattr(metric, "spec", None), MetricSpec):
        raise ConfigurationError(
            f"{name!r} is no metric: it is a {type(metric).__name__}",
            fix="subclass iqa_robustness.metrics.base.Metric and set `spec = MetricSpec(...)`",
        )
    return metric.to(device).eval().requires_grad_(False)


def access(name: str, *, load: bool = False) -> Access:
    """What an attack may use of a metric, as far as that is known without making the metric.

    Args:
        name: as `create` takes it.
        load: import somebody's own module and ask the metric there; `white-box` where that fails or a function makes
            the metric, whose own word comes when it is made.

    Raises:
        UnknownNameError: no such metric.
    """
    entry = registry.resolve(name)
    if not load or entry.target.startswith(f"{__name__}."):
        return entry.access
    try:
        spec = getattr(registry.load(name), "spec", None)
    except ConfigurationError:
        return entry.access
    found: Access = getattr(spec, "access", entry.access)
    return found


def from_function(
    function: Callable[..., Any],
    *,
    name: str,
    score_range: tuple[float, float],
    higher_is_better: bool,
    full_reference: bool = False,
    access: Access = "white-box",
    version: str = "1",
) -> Metric:
    """A metric out of a function `images -> scores`; assign it to a module's name to use it as `module:name`.

    Args:
        function: (N, 3, H, W) float32 RGB in [0, 1] to (N,) scores; an `nn.Module` follows the run's device. A tensor,
            or with `access="query-only"` anything `torch.as_tensor` takes (a list, a NumPy array).
        name: as messages call it.
        score_range: (low, high) in score units, low < high.
        higher_is_better: the direction of the scale.
        full_reference: the function takes `(images, reference)`, two batches of the same shape.
        access: `query-only` for functions without gradients.
        version: raise it whenever scores change.

    Raises:
        ConfigurationError: no function, or a range that is none.
    """
    from iqa_robustness.metrics.base import MetricSpec
    from iqa_robustness.metrics.function import FunctionMetric

    return FunctionMetric(
        function,
        MetricSpec(
            name=name,
            score_range=score_range,
            higher_is_better=higher_is_better,
            full_reference=full_reference,
            access=access,
            version=version,
        ),
    )


def list() -> tuple[MetricEntry, ...]:
    """All registered metrics, sorted by name; nothing is imported or loaded."""
    return (*registry,)
