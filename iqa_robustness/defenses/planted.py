"""A defense that is broken by construction; the harness must never call it good. It is not registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class ConstantPurifier(Purification):
    """Degenerate: every image becomes the same grey one, so no attack moves the score, and nothing is measured."""

    name: ClassVar[str] = "planted-constant-purifier"
    version: ClassVar[int] = 1

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to the same shape, ½ everywhere."""
        del streams
        return torch.full_like(images, 0.5)
