"""A defense to be checked: its default, its published form, and each value of its varied parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.conformance.check import NotApplicable
from iqa_robustness.conformance.pictures import extremes, photographs
from iqa_robustness.conformance.targets import reference_for
from iqa_robustness.defenses.base import Defense, Purification
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

# Noisy copies of an image that a certified defense draws here.
SAMPLES = 24


class DefenseSubject:
    """A defense under the checks.

    Args:
        reference: as `defenses.create` takes it.
        device: torch device of images and metric.
        options: parameters of every variant.

    Raises:
        UnknownNameError, ConfigurationError: what `defenses.create` raises.
    """

    def __init__(self, reference: str, *, device: str = "cpu", options: Mapping[str, Any] | None = None) -> None:
        self.reference = reference
        self.device = device
        self.options = dict(options or {})
        self.kind = type(defenses.create(reference, **self.options))

    def made(self, **parameters: Any) -> Defense:
        """The defense; a certified one with few samples."""
        defense = defenses.create(self.reference, **{**self.options, **parameters})
        counted = {name for name in ("n", "n0") if hasattr(defense, name)}
        few: dict[str, Any] = dict.fromkeys(counted - set(self.options), SAMPLES)
        return replace(defense, **few)

    @cached_property
    def variants(self) -> list[dict[str, Any]]:
        """Parameters: none, `paper`, and each value of the varied parameter, unless `options` set it."""
        varied = [{self.kind.varied_parameter: value} for value in self.kind.parameter_values]
        return [{}, {"paper": True}, *(each for each in varied if not set(each) & set(self.options))]

    @cached_property
    def every(self) -> list[Defense]:
        """The defense in each variant."""
        return [self.made(**parameters) for parameters in self.variants]

    @property
    def purifications(self) -> list[Purification]:
        """The same, where it purifies. Raises NotApplicable."""
        found = [defense for defense in self.every if isinstance(defense, Purification)]
        if not found:
            raise NotApplicable("it purifies no image")
        return found

    def guarded(self, defense: Defense | None = None) -> Scorer:
        """The reference metric behind the defense, in micro-batches of two."""
        return Scorer(metric=(defense or self.made()).protect(self.reference_metric()), micro_batch=2)

    def reference_metric(self) -> Metric:
        """The planted metric that is protected."""
        return reference_for(device=self.device)

    def photographs(self, count: int, height: int = 48, width: int = 64) -> Tensor:
        """Photographs on the device."""
        return photographs(count, height, width).to(self.device)

    def extremes(self, height: int, width: int) -> Tensor:
        """Extreme pictures on the device."""
        return extremes(height, width).to(self.device)

    def streams(self, ids: str, key: str = "key") -> Streams:
        """Random streams of images with names of one letter."""
        return Streams(key, list(ids), device=self.device)
