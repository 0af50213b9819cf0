"""The contract of a defense: it protects a metric, and what it returns is a metric again."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from iqa_robustness.errors import CapabilityError, DefenseContractError, IqaRobustnessError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.streams import Streams

DefenseKind = Literal["none", "purification", "detection", "certified", "training"]


@dataclass(frozen=True, kw_only=True)
class Defense(ABC):
    """Base of all defenses. A subclass declares the class attributes and its parameters as fields.

    name: as registered.                       version: raised when its results change.
    differentiable: gradients pass through it; otherwise `Purification.surrogate` stands in for the backward pass.
    stochastic: it draws from `streams`; attacks average over draws (EOT).
    keeps_geometry: pixels of input and output correspond; otherwise Q_score is not applicable.
    varied_parameter, parameter_values: the field the benchmark varies, and its values; empty if there is none.
    paper: reproduce the published code where it differs on purpose; see each defense.

    Name, differentiable, stochastic and keeps_geometry are class attributes, or properties where they depend on the
    parameters.
    """

    version: ClassVar[int]
    kind: ClassVar[DefenseKind]
    if TYPE_CHECKING:  # to a type checker, what is read-only may be overridden by either

        @property
        def name(self) -> str:
            """As registered."""

        @property
        def differentiable(self) -> bool:
            """Gradients pass through it."""

        @property
        def stochastic(self) -> bool:
            """It draws."""

        @property
        def keeps_geometry(self) -> bool:
            """Pixels correspond."""

    else:
        differentiable: ClassVar[bool] = True
        stochastic: ClassVar[bool] = False
        keeps_geometry: ClassVar[bool] = True
    varied_parameter: ClassVar[str] = ""
    parameter_values: ClassVar[Sequence[Any]] = ()

    paper: bool = False

    @abstractmethod
    def protect(self, metric: Metric) -> DefendedMetric:
        """The defended metric. The metric itself is not changed."""


class DefendedMetric(Metric):
    """A metric behind a defense; an attack on it is adaptive.

    Args:
        metric: the undefended metric.
        defense: what protects it.
    """

    def __init__(self, metric: Metric, defense: Defense) -> None:
        super().__init__()
        self.metric = metric
        self.defense = defense
        self.spec: MetricSpec = dataclasses.replace(
            metric.spec,
            name=metric.spec.name if defense.kind == "none" else f"{metric.spec.name} behind {defense.name}",
            stochastic=metric.spec.stochastic or defense.stochastic,
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """What identifies it beside the metric and the defense, as JSON values: what both were trained to together."""
        return {}

    def score(self, images: Tensor, streams: Streams | None, reference: Tensor | None = None) -> Tensor:
        """The undefended metric's scores, with its noise if it has any, against the reference as it is."""
        return self.metric.evaluate(images, streams=streams, reference=reference)


@dataclass(frozen=True, kw_only=True)
class Purification(Defense):
    """A defense that changes the image before it is scored."""

    kind: ClassVar[DefenseKind] = "purification"
    if TYPE_CHECKING:

        @property
        def surrogate_name(self) -> str:
            """For protocol names."""

    else:
        surrogate_name: ClassVar[str] = "identity"

    @abstractmethod
    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, H', W') in [0, 1]; H', W' differ only where `keeps_geometry` is false."""

    def surrogate(self, images: Tensor) -> Tensor:
        """A differentiable stand-in of the same output shape, for the backward pass only (BPDA).

        Source: Athalye, Carlini, Wagner, ICML 2018. The identity unless a defense names a better one.
        """
        return images

    def applied(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """P(x), checked. Where a gradient is wanted and the defense has none, the slope is its surrogate's.

        Raises:
            DefenseContractError: another number of images or channels, a wrong dtype or range, NaN; or a surrogate of
                another shape.
        """
        wants_gradient = torch.is_grad_enabled() and images.requires_grad
        if self.differentiable or not wants_gradient:
            return self._checked(self.purify(images, streams=streams), images)
        with torch.no_grad():
            exact = self._checked(self.purify(images, streams=streams), images)
        stand_in = self.surrogate(images)
        if stand_in.shape != exact.shape:
            raise DefenseContractError(
                f"the defense's surrogate made {tuple(stand_in.shape)}, the defense itself {tuple(exact.shape)}",
                where=Where(defense=self.name),
                fix="override `surrogate` with one of the defense's output shape",
            )
        # The value is exact (what is added is 0), the slope is the surrogate's.
        return exact + (stand_in - stand_in.detach())

    def protect(self, metric: Metric) -> PurifiedMetric:
        """The metric of the purified image."""
        return PurifiedMetric(metric, self)

    def _checked(self, purified: Tensor, images: Tensor) -> Tensor:
        where = Where(defense=self.name)
        if not isinstance(purified, Tensor) or purified.dtype != images.dtype:
            got = purified.dtype if isinstance(purified, Tensor) else type(purified).__name__
            raise DefenseContractError(
                f"the defense returned {got}; a tensor of {images.dtype} is expected",
                where=where,
                fix="return what `purify` is documented to return, in the dtype of its input",
            )
        kept = purified.shape == images.shape
        if purified.shape[:2] != images.shape[:2] or (self.keeps_geometry and not kept):
            raise DefenseContractError(
                f"the defense made {tuple(purified.shape)} of {tuple(images.shape)}",
                where=where,
                fix="keep the number of images and channels; declare keeps_geometry = False to change height and width",
            )
        if not purified.numel():
            return purified
        low, high = (float(bound) for bound in torch.aminmax(purified.detach()))
        if not (low >= 0 and high <= 1):
            raise DefenseContractError(
                f"the defense returned values from {low:.6g} to {high:.6g}; [0, 1] is expected",
                where=where,
                fix="clamp the purified image",
            )
        return purified


class PurifiedMetric(DefendedMetric):
    """f(P(x)): scores the purified image; a full-reference metric compares it with the reference as it is, f(P(x), r).

    Raises: CapabilityError for a full-reference metric behind a defense that moves pixels.
    """

    defense: Purification

    def __init__(self, metric: Metric, defense: Purification) -> None:
        super().__init__(metric, defense)
        if metric.spec.full_reference and not defense.keeps_geometry:
            raise CapabilityError(
                f"{defense.name} moves pixels, and the metric compares them with a reference that stays",
                where=Where(metric=metric.spec.name, defense=defense.name),
                fix="choose a defense that keeps the geometry",
            )

    def forward(self, images: Tensor, *, streams: Streams | None = None, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,). Gradients pass through a differentiable defense, or through its surrogate."""
        return self.score(self.purified(images, streams=streams), streams, reference)

    def purified(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """P(x), checked. Raises DefenseContractError on another number of images, a wrong range or NaN."""
        try:
            return self.defense.applied(images, streams=streams)
        except IqaRobustnessError as error:
            raise error.at(metric=self.metric.spec.name) from error.__cause__
