"""No defense: the baseline that every defense is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import DefenseKind, Purification
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Undefended(Purification):
    """The image as it is."""

    name: ClassVar[str] = "none"
    version: ClassVar[int] = 1
    kind: ClassVar[DefenseKind] = "none"

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """The same tensor."""
        del streams
        return images
