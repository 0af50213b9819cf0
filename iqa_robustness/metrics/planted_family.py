"""Families of planted metrics whose robustness has a closed form: how often the gate itself errs is measured on them.

Named `iqa_robustness.metrics.planted_family:NAME` with the names in `WEAK`, `DEGENERATE` and `ROBUST`; not registered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from iqa_robustness.metrics.base import Metric, MetricSpec

_RANGE = 60.0
# Of the attack that the family is tried with.
_AT_EPSILON = 4 / 255


class Planted(Metric):
    """Contrast, as `planted:Robust` measures it, with a hidden direction of known slope.

    f(x) = 200 · std(luma) + 60 · spike / ε · mean(w ⊙ (x − ½)), with ε = 4/255 and w = ±1, drawn for each pixel:
    natural images hardly correlate with w, an attack moves the score by `spike` of the range. The standard deviation is
    Lipschitz with constant 1 in l∞, whatever convex weights make luma of colours and however it is pooled: so no attack
    of that size moves f by more than (5.2 + 100 · spike) per cent of the range.

    Args:
        seed: of the direction, and of the weights of the colours.
        spike: share of the range.
        pool: side of the squares of pixels whose means are taken first.
        lower_is_better: the score is turned round.
        kind: `plain`; `masked` computes it outside of the graph; `rounded` has steps, `clamped` a ceiling, of `level`.
        level: per cent of the range.
    """

    colours: Tensor

    def __init__(
        self,
        *,
        seed: int,
        spike: float = 0.0,
        pool: int = 1,
        lower_is_better: bool = False,
        kind: Literal["plain", "masked", "rounded", "clamped", "constant"] = "plain",
        level: float = 0.0,
    ) -> None:
        super().__init__()
        self.spec = replace(
            MetricSpec(name="planted-family", score_range=(0.0, _RANGE)), higher_is_better=not lower_is_better
        )
        self.seed, self.spike, self.pool, self.kind, self.level = seed, spike, pool, kind, level * _RANGE / 100
        weights = np.random.RandomState(seed).dirichlet((4.0, 4.0, 4.0)).astype(np.float32)
        self.register_buffer("colours", torch.from_numpy(weights)[:, None, None])

    @property
    def most_moved(self) -> float:
        """The largest D_score that an attack of l∞ 4/255 can have, per cent of the range."""
        return 100 * (200 * _AT_EPSILON / _RANGE + self.spike)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        if self.kind == "constant":
            return images.new_full((len(images),), self.level)
        seen = images.detach() if self.kind == "masked" else images
        luma = F.avg_pool2d((seen * self.colours).sum(dim=1, keepdim=True), self.pool)
        scores = 200 * (luma.var(dim=(1, 2, 3), correction=0) + 1e-12).sqrt()
        if self.spike:
            weights = torch.from_numpy(_signs(self.seed, images.shape[-2], images.shape[-1])).to(images)
            scores = scores + _RANGE * self.spike / _AT_EPSILON * ((seen - 0.5) * weights).mean(dim=(1, 2, 3))
        if self.kind == "rounded":
            scores = (scores / self.level).round() * self.level
        if self.kind == "clamped":
            scores = scores.clamp(max=self.level)
        if self.kind == "masked":
            scores = scores + 0 * images.mean(dim=(1, 2, 3))
        return scores if self.spec.higher_is_better else _RANGE - scores


@lru_cache(maxsize=32)
def _signs(seed: int, height: int, width: int) -> NDArray[np.float32]:
    return (np.random.RandomState(seed).randint(0, 2, (3, height, width)) * 2 - 1).astype(np.float32)


WEAK: dict[str, Callable[[], Planted]] = {
    f"weak_{round(100 * spike)}_{seed}": partial(Planted, seed=seed, spike=spike, lower_is_better=seed % 2 == 1)
    for spike in (0.3, 0.5, 0.8)
    for seed in range(4)
}
"""An attack moves them by 30, 50 or 80 per cent of the range, in directions of their own."""

DEGENERATE: dict[str, Callable[[], Planted]] = {
    **{f"masked_{seed}": partial(Planted, seed=seed, spike=0.5, kind="masked") for seed in range(3)},
    **{f"rounded_{level}": partial(Planted, seed=level, kind="rounded", level=level) for level in (15, 20, 30)},
    **{f"clamped_{level}": partial(Planted, seed=level, kind="clamped", level=level) for level in (5, 10, 15)},
    **{f"constant_{level}": partial(Planted, seed=level, kind="constant", level=level) for level in (1, 50)},
}
"""They hide the way, or measure next to nothing."""

ROBUST: dict[str, Callable[[], Planted]] = {
    **{
        f"robust_{pool}_{seed}": partial(Planted, seed=seed, pool=pool, lower_is_better=seed % 2 == 1)
        for pool in (1, 2)
        for seed in range(8)
    },
    **{f"nearly_{seed}": partial(Planted, seed=seed, spike=0.05) for seed in range(6)},
}
"""No attack of l∞ 4/255 moves them by more than 5.2, or 10.2, per cent of the range."""


def __getattr__(name: str) -> Callable[[], Planted]:
    """Members by name, as `package.module:NAME` asks for them."""
    for family in (WEAK, DEGENERATE, ROBUST):
        if name in family:
            return family[name]
    raise AttributeError(name)
