"""Scores of video clips from those of their frames: the mean, and the worst frame's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.measures.intervals import Interval, mean_interval


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A clip's scores, score units.

    mean: over its frames.     worst: of the frame of lowest quality.
    """

    clip: str
    frames: int
    mean: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class ClipShift:
    """What one cell does to clips; gains towards better in per cent of diam, mean over clips.

    clean, attacked: mean over clips of the pooled score of the defended metric, score units.
    mean_gain: of the mean over frames.
    worst_gain: of the worst frame: what an attacker of a minimum over frames has to move.
    """

    metric: str
    defense: str
    attack: str
    strength: str
    scenario: str
    clips: int
    frames: int
    clean: float
    attacked: float
    mean_gain: Interval
    worst_gain: Interval


def pooled(scores: np.ndarray, clips: Sequence[str], *, higher_is_better: bool) -> list[Pooled]:
    """Each clip's scores, in the order in which clips first appear.

    Args:
        scores: (N,) of frames.
        clips: the clip of each.
        higher_is_better: of the metric; it says which frame is the worst.
    """
    frames: dict[str, list[float]] = {}
    for clip, score in zip(clips, scores, strict=True):
        frames.setdefault(clip, []).append(float(score))
    worst = min if higher_is_better else max
    return [
        Pooled(clip=clip, frames=len(own), mean=float(np.mean(own)), worst=worst(own)) for clip, own in frames.items()
    ]


def clip_shifts(runner: LocalRunner, cells: Sequence[Cell]) -> Iterator[ClipShift]:
    """Pool what the cells' records say of frames; cells that the store lacks are computed.

    Args:
        runner: computes, or reads the store.
        cells: with an attack; the contents of their data set are clips.
    """
    for cell in cells:
        record = runner.record(cell)
        spec = runner.pair(cell).subject.metric.spec
        better, names = spec.higher_is_better, [str(name) for name in record.images["content"]]
        clean, attacked = (
            pooled(record.scores(column), names, higher_is_better=better)
            for column in ("defended_clean", "defended_attacked")
        )
        sign = 100 / spec.diam * (1 if better else -1)
        clips = [one.clip for one in clean]
        gains = {
            how: np.array([sign * (getattr(b, how) - getattr(a, how)) for a, b in zip(clean, attacked, strict=True)])
            for how in ("mean", "worst")
        }
        yield ClipShift(
            metric=cell.metric,
            defense=cell.defense,
            attack=cell.attack,
            strength=cell.strength,
            scenario=cell.scenario,
            clips=len(clips),
            frames=len(names),
            clean=float(np.mean([one.mean for one in clean])),
            attacked=float(np.mean([one.mean for one in attacked])),
            mean_gain=mean_interval(gains["mean"], clips),
            worst_gain=mean_interval(gains["worst"], clips),
        )
