"""Labelled training images: photographs with human scores, and distorted ones with pseudo scores, in several views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from iqa_robustness.datasets.pseudo_mos import pseudo_mos
from iqa_robustness.images import fit_pixels
from iqa_robustness.training.distortions import DISTORTIONS, Draw
from iqa_robustness.training.mos_data import Photograph

# human: judged by people; lowered: judged, and damaged further; pseudo: scored by formula alone.
Kind = Literal["human", "lowered", "pseudo"]
# part: 192 x 256 at the photograph's own scale; half: 192 x 256 at half its scale; large: 384 x 512; full: as it is.
View = Literal["part", "half", "large", "full"]
SMALL, LARGE = (192, 256), (384, 512)
# Of each judged photograph, besides the random views: as it is, and its centre in two sizes.
WHOLE_VIEWS: tuple[tuple[View, tuple[int, int] | None], ...] = (("full", None), ("large", LARGE), ("half", SMALL))
# One for all: thousands of small arrays kept between large ones that go made a process grow by 2 MB an image.
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
# Pseudo scores on the human scale: SLOPE · pseudo + OFFSET. Measured where both exist: photographs scaled down and up
# again by 2, 3, 4 and 8 have human means 79, 57, 47, 18 (SR4KIQA) and pseudo means 95, 79, 69, 45.
SLOPE, OFFSET = 1.25, -40.0
# Photographs with a human score from here on are good enough to be damaged further.
GOOD = 74.0
# How much of the training each kind makes up; its views share equally.
SHARES: Mapping[Kind, float] = MappingProxyType({"human": 0.4, "lowered": 0.2, "pseudo": 0.4})


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image to learn from.

    pixels: (H, W, 3) uint8.
    target: the score on the human scale, about 0 to 100.
    content: the source scene.
    """

    pixels: np.ndarray
    target: float
    content: str
    kind: Kind
    view: View

    def without_pixels(self) -> Example:
        """Everything but the image."""
        return replace(self, pixels=_NO_PIXELS)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many examples of each view are made of one photograph."""

    part: int = 0
    half: int = 0
    large: int = 0

    @property
    def total(self) -> int:
        """Of one photograph."""
        return self.part + self.half + self.large

    def views(self) -> list[View]:
        """Every view, as often as it is wanted."""
        wanted: tuple[tuple[View, int], ...] = (("part", self.part), ("half", self.half), ("large", self.large))
        return [view for view, count in wanted for _ in range(count)]


def human_examples(photographs: Sequence[Photograph], counts: Counts, *, seed: int) -> Iterator[Example]:
    """Random views of the judged photographs, each with the photograph's own score."""
    for photograph, draw in _with_draws(photographs, seed):
        if photograph.mos is None:
            continue
        for view in counts.views():
            size = LARGE if view == "large" else SMALL
            pixels = _mirrored(_cut(photograph.pixels, size, 0.5 if view == "half" else 1.0, draw), draw)
            yield Example(pixels=pixels, target=photograph.mos, content=photograph.content, kind="human", view=view)


def whole_examples(photographs: Sequence[Photograph]) -> Iterator[Example]:
    """The judged photographs as they are, and their centres at 384 x 512 and, half the scale, at 192 x 256."""
    for photograph in photographs:
        if photograph.mos is None:
            continue
        for view, size in WHOLE_VIEWS:
            pixels = fit_pixels(photograph.pixels, *size) if size else photograph.pixels
            yield Example(pixels=pixels, target=photograph.mos, content=photograph.content, kind="human", view=view)


def damaged_examples(photographs: Sequence[Photograph], counts: Counts, *, seed: int) -> Iterator[Example]:
    """Photographs without a score, or with a good one, distorted at random; a good score is lowered by the damage.

    Damage is done at the view's size, for `half` at twice that and scored there. A tenth stays undistorted, a quarter
    is distorted twice, a tenth is grey.
    """
    for photograph, draw in _with_draws(photographs, seed):
        if photograph.mos is not None and photograph.mos < GOOD:
            continue
        best = 100 * SLOPE + OFFSET
        for view in counts.views():
            size = SMALL if view == "part" else LARGE
            scale = float(np.exp(draw.uniform(np.log(0.86), np.log(1.4)))) if photograph.mos is None else 1.0
            reference = _mirrored(_cut(_extended(photograph.pixels, size, scale), size, scale, draw), draw)
            if draw.random() < 0.1:
                reference = np.repeat(reference.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)
            damaged = distorted(reference, draw)
            lost = best - (SLOPE * pseudo_mos(reference, damaged) + OFFSET)
            yield Example(
                pixels=fit_pixels(damaged, *SMALL) if view == "half" else damaged,
                target=(best if photograph.mos is None else photograph.mos) - lost,
                content=photograph.content,
                kind="pseudo" if photograph.mos is None else "lowered",
                view=view,
            )


def balanced(examples: Sequence[Example]) -> np.ndarray:
    """A weight for each example, (N,) with sum 1: kinds by `SHARES`, the views of a kind alike."""
    groups = [(example.kind, example.view) for example in examples]
    sizes = Counter(groups)
    views = Counter(kind for kind, _ in sizes)
    weights = np.array([SHARES[kind] / views[kind] / sizes[kind, view] for kind, view in groups])
    shares: np.ndarray = weights / weights.sum()
    return shares


def _with_draws(photographs: Sequence[Photograph], seed: int) -> Iterator[tuple[Photograph, Draw]]:
    # A generator for each photograph: the examples of one do not depend on which others there are.
    for photograph in photographs:
        yield photograph, np.random.default_rng([seed, *photograph.name.encode()])


def _extended(pixels: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """Mirrored at the bottom and right until a part of `size` fits at this scale."""
    missing = [max(0, int(np.ceil(wanted / scale)) - have) for wanted, have in zip(size, pixels.shape[:2], strict=True)]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric") if any(missing) else pixels


def _cut(pixels: np.ndarray, size: tuple[int, int], scale: float, draw: Draw) -> np.ndarray:
    """A random part that has `size` once it is scaled."""
    rows, columns = (min(have, round(wanted / scale)) for wanted, have in zip(size, pixels.shape[:2], strict=True))
    top = int(draw.integers(pixels.shape[0] - rows + 1))
    left = int(draw.integers(pixels.shape[1] - columns + 1))
    return fit_pixels(pixels[top : top + rows, left : left + columns], *size)


def _mirrored(pixels: np.ndarray, draw: Draw) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, ::-1]) if draw.random() < 0.5 else pixels


def distorted(reference: np.ndarray, draw: Draw) -> np.ndarray:
    """(H, W, 3) uint8 to the same, distorted at random: a tenth is not, a quarter twice."""
    kinds = list(DISTORTIONS.values())
    chance = draw.random()
    if chance < 0.1:
        return reference
    damaged = kinds[draw.integers(len(kinds))](reference, draw.uniform(0, 4), draw)
    if chance > 0.75:
        damaged = kinds[draw.integers(len(kinds))](damaged, draw.uniform(0, 3), draw)
    return damaged
