"""Single entrant: one competitor cheats, the others do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from iqa_robustness.attacks.apgd import APGD
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class SingleEntrant(APGD):
    """`apgd` on a share of the images; the others enter as they are.

    Ranking abuse: where all images are attacked alike, their order may survive; where one is, it climbs over all the
    rest (`rank_displacement`). Each image is an entrant with chance `share`, by a draw of its own that depends on its
    name and the seed alone: the same images at every strength, on every metric, in any company.

    Source: the search is that of Croce and Hein, ICML 2020; whom it is tried on is our own setting.
    Images: (N, 3, H, W) float32 RGB in [0, 1], any size.
    Budget: `epsilon` in units of 1 (2/255 is weak), l∞, after 8-bit rounding.
    Cost: that of `apgd` for entrants, one forward for others.
    `paper=True` returns the result of the last restart.
    Raises: ConfigurationError for fewer than two steps or less than one restart, or a share outside 0 … 1.

    share: chance of an image to be an entrant, above 0 and at most 1.
    """

    name: ClassVar[str] = "single-entrant"
    version: ClassVar[int] = 1

    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"single-entrant needs a share above 0 and at most 1, got {self.share}")

    def entrants(self, streams: Streams) -> Tensor:
        """Those whose first uniform number falls below the share: with a larger one they are still among them."""
        return streams.uniform() < self.share

    def on_every_image(self) -> Self:
        """Everybody cheats."""
        return replace(self, share=1.0)
