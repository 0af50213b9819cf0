"""A defense to be checked: its default, its published form, and each value of its varied parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor

from iqa_robustness import defenses, metrics
from iqa_robustness.conformance.check import NotApplicable
from iqa_robustness.conformance.pictures import extremes, photographs
from iqa_robustness.conformance.targets import reference_for
from iqa_robustness.defenses.base import Defense, Purification
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

# Noisy copies of an image that a certified defense draws here, steps back that a diffusion model takes, and ways back.
FEW = {"n": 20, "n0": 4, "evaluations": 2, "reverse_samples": 2}
# Side of the images that are certified where a defense brings them to a size.
RESOLUTION = 48
# Room that a random window is given, the smallest picture that is tried, and sides for defenses that refuse it.
_ROOM = 8
_SMALLEST = (17, 18)
_SIDES = (0, *(side + _ROOM for side in (32, 48, 64, 96, 128, 192, 256, 288, 320, 384)))


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
        self._least: dict[Defense, int] = {}

    def made(self, **parameters: Any) -> Defense:
        """The defense; a certified one with few samples of small images, one by diffusion with few evaluations."""
        defense = defenses.create(self.reference, **{**self.options, **parameters})
        few: dict[str, Any] = {
            name: count for name, count in FEW.items() if hasattr(defense, name) and name not in self.options
        }
        if getattr(defense, "certifies_at", None) is not None and "resolution" not in self.options:
            few["resolution"] = RESOLUTION
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
        """The planted metric that is protected; for a defense that is trained weights, a metric that has them."""
        trained = getattr(self.made(), "trained_metrics", ())
        return metrics.create(trained[0], device=self.device) if trained else reference_for(device=self.device)

    def least(self, defense: Defense) -> int:
        """The smallest side that the defense takes, with room for a window to move in; 0 where it takes any."""
        if defense not in self._least:
            self._least[defense] = next(side for side in _SIDES if self._takes(defense, side))
        return self._least[defense]

    def enough(self, defense: Defense, height: int, width: int) -> tuple[int, int]:
        """The size, enlarged to what the defense takes."""
        least = self.least(defense)
        return max(height, least), max(width, least)

    def photographs(self, count: int, height: int = 48, width: int = 64, *, defense: Defense | None = None) -> Tensor:
        """Photographs of at least that size, as the defense takes them, on the device."""
        return photographs(count, *self.enough(defense or self.made(), height, width)).to(self.device)

    def extremes(self, height: int, width: int, *, defense: Defense) -> Tensor:
        """Extreme pictures of at least that size on the device."""
        return extremes(*self.enough(defense, height, width)).to(self.device)

    def _takes(self, defense: Defense, side: int) -> bool:
        """Whether it takes pictures of that side less the room; the largest side is tried without asking."""
        if not isinstance(defense, Purification) or side == _SIDES[-1]:
            return True
        height, width = (side - _ROOM, side - _ROOM) if side else _SMALLEST
        try:
            defense.purify(photographs(1, height, width).to(self.device), streams=self.streams("a"))
        except IqaRobustnessError:
            return False
        return True

    def streams(self, ids: str, key: str = "key") -> Streams:
        """Random streams of images with names of one letter."""
        return Streams(key, list(ids), device=self.device)
