"""Adversarial images that somebody made, judged without attacking anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.bench.adversarial_set import Group
from iqa_robustness.bench.columns import array
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Clean, Source
from iqa_robustness.datasets.base import Dataset, View
from iqa_robustness.errors import DatasetError, Where
from iqa_robustness.images import from_uint8
from iqa_robustness.measures import Interval, mean_interval, srocc
from iqa_robustness.measures.disparity import shifts
from iqa_robustness.similarity import linf, psnr, ssim


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a group of adversarial images does to its metric behind one defense.

    gain: f(x') − f(x) towards better, undefended, per cent of diam.
    d_score: |f(P(x')) − f(x)|, per cent of diam.     d_score_defended: |f(P(x')) − f(P(x))|.
    srocc: of f(P(x')) with opinion scores; NaN without them.
    ssim, psnr, linf: of the adversarial images with the clean ones, means; l∞ in levels of 255.
    """

    metric: str
    defense: str
    attack: str
    strength: str
    images: int
    gain: Interval
    d_score: Interval
    d_score_defended: Interval
    srocc: float
    ssim: float
    psnr: float
    linf: float


class Imported(Source):
    """The images of a group, in the order of the clean ones."""

    def __init__(self, group: Group, names: Sequence[str], clean: Clean) -> None:
        self.group = group
        self.names = names
        self.clean = clean
        self.ids = clean.ids
        # Which images, and in which order: the group's digest says what they are.
        self.document = {"imported": group.digest, "names": [*names]}

    def batch(self, rows: range) -> Tensor:
        """Decoded now. Raises DatasetError for an image of another size than its clean one."""
        read = [self.group.pixels(self.names[row]) for row in rows]
        for row, pixels in zip(rows, read, strict=True):
            if pixels.shape[:2] != self.clean.view.size:
                sizes = [" x ".join(map(str, size)) for size in (pixels.shape[:2], self.clean.view.size)]
                raise DatasetError(
                    f"an adversarial image has {sizes[0]} pixels, the first of its group {sizes[1]}",
                    where=Where(image=self.names[row], file=str(self.group.path)),
                    fix="images of one group must be of one size",
                )
        return torch.stack([from_uint8(pixels) for pixels in read])


def imported(group: Group, data: Dataset, *, count: int | None = None) -> Imported:
    """A group beside the clean images it was made of, at the size of its own.

    Args:
        group: its ids are the data set's, or the last parts of these.
        data: the clean images.
        count: only the first images by id.

    Raises:
        DatasetError: the data set lacks an image, or has several of one name.
    """
    by_name: dict[str, list[int]] = {}
    for index, item in enumerate(data.items):
        for name in {item.id, item.id.rpartition("/")[2]}:
            by_name.setdefault(name, []).append(index)
    names = group.ids[:count]
    wanted = [name for name in names if len(by_name.get(name, [])) != 1]
    if wanted:
        many = bool(by_name.get(wanted[0]))
        raise DatasetError(
            f"the data set has {'several clean images' if many else 'no clean image'} for {len(wanted)} of "
            f"{len(names)} adversarial ones, for one {wanted[0]!r}",
            where=Where(dataset=data.name, attack=group.attack, metric=group.metric, file=str(group.path)),
            fix="give the data set that was attacked, whole (koniq: with @part=all)",
        )
    places = sorted((by_name[name][0], name) for name in names)
    height, width = group.pixels(names[0]).shape[:2]
    clean = Clean(View(base=data, chosen=tuple(index for index, _ in places), size=(height, width)))
    return Imported(group, [name for _, name in places], clean)


def judged(
    runner: LocalRunner, source: Imported, defenses: Sequence[str], *, n0: int, n: int, seed: int
) -> Iterator[Judged]:
    """Score a group's images, clean and adversarial, undefended and behind each defense; scores come from the store.

    Args:
        runner: computes, or reads the store.
        source: the group beside its clean images.
        defenses: names.
        n0: selection samples of certified defenses.
        n: their estimation samples.
        seed: of what is random.
    """
    group, clean = source.group, source.clean
    contents = [item.content for item in clean.view.items]
    mos = [item.mos for item in clean.view.items]
    found = _likeness(runner, source)
    undefended = runner.pair_of(group.metric, "none", n0=n0, n=n)
    plain = [runner.stages.scores(undefended, one, clean, seed=seed)["scores"] for one in (clean, source)]
    spec = undefended.subject.metric.spec
    sign = 1 if spec.higher_is_better else -1
    for defense in defenses:
        pair = runner.pair_of(group.metric, defense, n0=n0, n=n)
        guarded = [runner.stages.scores(pair, one, clean, seed=seed)["scores"] for one in (clean, source)]
        yield Judged(
            metric=group.metric,
            defense=defense,
            attack=group.attack,
            strength=group.strength,
            images=len(clean),
            gain=mean_interval(sign * shifts(*plain, diam=spec.diam), contents),
            d_score=mean_interval(np.abs(shifts(plain[0], guarded[1], diam=spec.diam)), contents),
            d_score_defended=mean_interval(np.abs(shifts(*guarded, diam=spec.diam)), contents),
            srocc=srocc(mos, sign * guarded[1]),
            **found,
        )


def _likeness(runner: LocalRunner, source: Imported) -> dict[str, float]:
    """Means of SSIM, PSNR and l∞, a micro-batch at a time."""
    size = runner.stages.numerics.micro_batch
    columns: dict[str, list[np.ndarray]] = {"ssim": [], "psnr": [], "linf": []}
    for start in range(0, len(source), size):
        rows = range(start, min(start + size, len(source)))
        first, second = source.clean.batch(rows), source.batch(rows)
        for name, measure in (("ssim", ssim), ("psnr", psnr), ("linf", linf)):
            columns[name].append(array(measure(first, second)))
    means = {name: float(np.concatenate(parts).mean()) for name, parts in columns.items()}
    return {**means, "linf": 255 * means["linf"]}
