"""Composition: purifications one after another, written `a+b`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from iqa_robustness.defenses.base import Purification
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Composition(Purification):
    """The first part is applied first; a part that is a composition is written out.

    It is differentiable and keeps geometry if all parts do, and draws if any does; parts draw one after another from
    the image's stream, so that repeated draws (EOT) differ. In the backward pass each part has its own slope, or its
    own surrogate's at the value that the parts before it made.

    Source: the purification study (arXiv 2404.06957) proposes `diffpure+unsharp`.
    parts: at least two purifications.     paper: all parts as published.
    Cost: that of the parts.
    Raises: ConfigurationError for fewer than two parts, or one that is no purification (`none` neither).
    """

    version: ClassVar[int] = 1

    parts: tuple[Purification, ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            if not isinstance(part, Purification) or part.kind != "purification":
                raise ConfigurationError(
                    f"{getattr(part, 'name', part)!r} is no purification", fix="compose purifications only"
                )
        flat = [inner for part in self.parts for inner in (part.parts if isinstance(part, Composition) else (part,))]
        if len(flat) < 2:
            raise ConfigurationError(f"a composition has two parts or more, got {len(flat)}")
        if self.paper:
            flat = [replace(part, paper=True) for part in flat]
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def name(self) -> str:
        """`a+b`."""
        return "+".join(part.name for part in self.parts)

    @property
    def differentiable(self) -> bool:
        """All parts are."""
        return all(part.differentiable for part in self.parts)

    @property
    def stochastic(self) -> bool:
        """Any part is."""
        return any(part.stochastic for part in self.parts)

    @property
    def keeps_geometry(self) -> bool:
        """All parts do."""
        return all(part.keeps_geometry for part in self.parts)

    @property
    def surrogate_name(self) -> str:
        """`a+b`, of the parts without a gradient, each once."""
        return "+".join(dict.fromkeys(part.surrogate_name for part in self.parts if not part.differentiable))

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """(N, 3, H, W) to (N, 3, H', W'), part by part."""
        for part in self.parts:
            images = part.purify(images, streams=streams)
        return images

    def applied(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        """As `purify`, each part checked and, where it has no gradient, with its own surrogate's slope."""
        for part in self.parts:
            images = part.applied(images, streams=streams)
        return images
