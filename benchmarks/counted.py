"""A metric that counts the images it is given, for `reuse.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from iqa_robustness.metrics.planted import Vulnerable


@dataclass
class Calls:
    """Images through the metric since the last `take`, zero padding left out.

    forwards: without a gradient.     backwards: forward and backward.
    """

    forwards: int = 0
    backwards: int = 0

    def take(self) -> Calls:
        """What was counted; from here on, counting begins anew."""
        found = Calls(forwards=self.forwards, backwards=self.backwards)
        self.forwards = self.backwards = 0
        return found

    def __add__(self, other: Calls) -> Calls:
        """Of two runs together."""
        return Calls(forwards=self.forwards + other.forwards, backwards=self.backwards + other.backwards)

    @property
    def total(self) -> int:
        """Images given to the metric, whatever was asked of it."""
        return self.forwards + self.backwards


CALLS = Calls()
# The fixed images of the probe, which every process shows to a metric once, have a size of their own.
PROBED = (224, 256)


class Counted(Vulnerable):
    """The planted vulnerable metric, whose proof of working attacks is therefore counted apart, by its own class."""

    spec = replace(Vulnerable.spec, name="counted")

    def forward(self, images: Tensor) -> Tensor:
        """Count, and score."""
        if images.shape[-2:] != PROBED:
            real = int(images.detach().flatten(1).any(dim=1).sum())
            if images.requires_grad:
                CALLS.backwards += real
            else:
                CALLS.forwards += real
        return super().forward(images)
