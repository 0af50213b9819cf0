"""Images that are truly bad, and how each defense changes their scores: blur, noise, JPEG, contrast at five levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean, Source
from iqa_robustness.datasets.base import View
from iqa_robustness.datasets.distortion import Distortion
from iqa_robustness.images import from_uint8
from iqa_robustness.measures.degradation import biases, order_lost
from iqa_robustness.measures.intervals import Interval, mean_interval
from iqa_robustness.streams import seed_of

# Raised with every change of a degraded pixel that no field of a Distortion shows.
VERSION = 1

# Level 0 is the photograph. Blur has deviations of 1, 1.4, 2, 2.8 and 4 pixels, noise of 5, 9, 14, 21 and 32 levels of
# 255; JPEG's table is that of quality 50, 25, 13, 6 and 3, in each of R, G, B; contrast keeps 81 % to 19 %.
LEVELS: Mapping[str, tuple[Distortion, ...]] = MappingProxyType(
    {
        "blur": tuple(Distortion(blur=passes) for passes in (1, 2, 4, 8, 16)),
        "noise": tuple(Distortion(noise=amplitude) for amplitude in (4, 8, 12, 18, 28)),
        "jpeg": tuple(Distortion(coding=quarters) for quarters in (4, 8, 16, 32, 64)),
        "contrast": tuple(Distortion(contrast=kept) for kept in (208, 160, 112, 80, 48)),
    }
)
_BLOCK = 8


@dataclass(frozen=True, kw_only=True)
class Harm:
    """One level of one degradation behind one defense.

    level: 1 (mild) to 5.
    score, defended: mean f(g(x)) and f(P(g(x))), score units.
    bias: mean of f(P(g(x))) − f(g(x)) towards better, in per cent of diam.
    ordered: share of images that the metric alone rates below their next milder level.
    lost: share of these that the defended metric does not, ties as a half; NaN where there are none.
    """

    metric: str
    defense: str
    degradation: str
    level: int
    score: float
    defended: float
    bias: Interval
    ordered: float
    lost: float


class Degraded(Source):
    """Clean images under one distortion, at their own size; the grain of noise depends on the image's id alone."""

    def __init__(self, clean: Clean, distortion: Distortion) -> None:
        self.clean = clean
        self.ids = clean.ids
        self.distortion = distortion
        self.document = {"degraded": clean.document, "distortion": asdict(distortion), "version": VERSION}

    def batch(self, rows: range) -> Tensor:
        """Made now, 10 to 50 ms an image."""
        return torch.stack([from_uint8(self._degraded(row)) for row in rows])

    def _degraded(self, row: int) -> np.ndarray:
        pixels = self.clean.view.pixels(row)
        height, width = pixels.shape[:2]
        # Coding works on whole blocks; what is added repeats the edge, and is cut off again.
        margins = ((0, -height % _BLOCK), (0, -width % _BLOCK), (0, 0))
        seed = seed_of("degradation", self.ids[row]) % 2**32
        return self.distortion.apply(np.pad(pixels, margins, mode="edge"), seed=seed)[:height, :width]


def photographs(clean: Clean) -> Clean:
    """The best image of each content by its MOS: what levels of damage can be added to."""
    best: dict[str, int] = {}
    for row, item in enumerate(clean.view.items):
        if item.content not in best or item.mos > clean.view.items[best[item.content]].mos:
            best[item.content] = row
    view = clean.view
    chosen = tuple(sorted(view.chosen[row] for row in best.values()))
    return Clean(View(base=view.base, chosen=chosen, size=view.size))


def harms(runner: LocalRunner, cells: Sequence[Cell], degradations: Sequence[str] = tuple(LEVELS)) -> Iterator[Harm]:
    """Score every level of every degradation, undefended and behind the cell's defense; scores come from the store.

    Args:
        runner: computes, or reads the store.
        cells: of scenario `clean`, one for each (metric, defense).
        degradations: names in `LEVELS`.
    """
    for cell in cells:
        pair = runner.pair(cell)
        undefended = runner.pair_of(cell.metric, "none", n0=cell.n0, n=cell.n)
        clean = photographs(runner.clean(cell))
        contents = [item.content for item in clean.view.items]
        spec = pair.subject.metric.spec
        better = spec.higher_is_better
        for name in degradations:
            sources: list[Source] = [clean, *(Degraded(clean, distortion) for distortion in LEVELS[name])]
            plain, guarded = (
                [runner.stages.scores(one, source, clean, seed=cell.seed)["scores"] for source in sources]
                for one in (undefended, pair)
            )
            for level in range(1, len(sources)):
                around = (level - 1, level)
                lost = order_lost(*(plain[n] for n in around), *(guarded[n] for n in around), higher_is_better=better)
                shift = biases(plain[level], guarded[level], diam=spec.diam, higher_is_better=better)
                known = ~np.isnan(lost)
                yield Harm(
                    metric=cell.metric,
                    defense=cell.defense,
                    degradation=name,
                    level=level,
                    score=float(plain[level].mean()),
                    defended=float(guarded[level].mean()),
                    bias=mean_interval(shift, contents),
                    ordered=float(known.mean()),
                    lost=float(lost[known].mean()) if known.any() else float("nan"),
                )
