"""One number about a defense from many cells: as the published tables have it, and with an interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from iqa_robustness.gate.certified import CERTIFIED
from iqa_robustness.gate.measure_info import MeanOf, MeasureInfo, RankOf, ShareOf
from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.gate.study import STUDY
from iqa_robustness.measures import Interval, mean_interval, share_interval, statistic_interval
from iqa_robustness.reporting.leaderboard_board import Task
from iqa_robustness.store import Record

WITH_OPINIONS = ("srocc_clear", "srocc_adv")
# Leaving out a thousand contents one at a time takes hours over all cells; fifty groups of them say the same.
_MOST_GROUPS = 50


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A measure of a defense over its cells.

    sd: standard deviation over (attack, strength) cells, metrics averaged within each, as the paper's ±; NaN for one.
    median: over all records.      cells: (attack, strength) cells.      records: behind them.
    interval: of the mean over cells, 95 % over contents.
    """

    sd: float
    median: float
    cells: int
    records: int
    interval: Interval

    @property
    def mean(self) -> float:
        """Over metrics within each cell, then over cells."""
        return self.interval.value


def info_of(name: str) -> MeasureInfo:
    """A measure of a gate or of a study, by its name."""
    return MEASURES[name] if name in MEASURES else STUDY[name]


def applies(name: str, record: Record) -> bool:
    """Whether a measure has a meaning for a record on a leaderboard: formulas' opinions of images never have one."""
    if name in WITH_OPINIONS and record.meta["dataset"]["mos_kind"] != "human":
        return False
    form = record.meta["certificate"]["form"] if record.meta["defense"]["kind"] == "certified" else ""
    return name not in CERTIFIED or bool(form and info_of(name).form in ("", form))


def value_of(name: str, record: Record) -> float:
    """The measure of one record; NaN where it has none."""
    if not applies(name, record):
        return math.nan
    compute = info_of(name).compute
    if isinstance(compute, RankOf):
        return compute.of_rows(record)(np.arange(len(record.images)))
    if isinstance(compute, MeanOf | ShareOf):
        values = compute.values(record)
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else math.nan
    return compute(record).value


def aggregated(name: str, records: Mapping[Task, Record]) -> Aggregate | None:
    """A measure over records of one defense; None where it applies to none of them.

    The interval is of the mean over cells as they are: each image counts in every cell that it is in, and whole
    contents are drawn, so that cells on the same images are not taken for independent ones. Of orders it is the
    jackknife over at most fifty groups of contents (Kott, Journal of Official Statistics 17, 2001).

    Args:
        name: a measure; of one that is neither a mean or share of images nor an order of them there is no interval.
        records: of one defense in one scenario.
    """
    values = {task: value_of(name, record) for task, record in records.items()}
    values = {task: value for task, value in values.items() if not math.isnan(value)}
    if not values:
        return None
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for task, value in values.items():
        cells[task.cell].append(value)
    means = [float(np.mean(found)) for found in cells.values()]
    weights = {task: 1 / (len(cells) * len(cells[task.cell])) for task in values}
    known = {task: records[task] for task in values}
    compute = info_of(name).compute
    if isinstance(compute, MeanOf | ShareOf):
        interval = _interval_of_means(compute, known, weights)
    elif isinstance(compute, RankOf):
        interval = _interval_of_orders(compute, known, weights)
    else:
        interval = Interval.unknown(float(np.mean(means)), 0)
    return Aggregate(
        sd=float(np.std(means, ddof=1)) if len(means) > 1 else math.nan,
        median=float(np.median([*values.values()])),
        cells=len(cells),
        records=len(values),
        interval=interval.within(*info_of(name).limits),
    )


def image_table(
    measure: str, records: Mapping[Task, Record], weights: Mapping[Task, float]
) -> tuple[dict[str, float], dict[str, str]]:
    """(number, content) by image: what each contributes to the weighted mean over records of a measure.

    The mean of the numbers is the mean over records. Where all records have the same images, a number is just the
    mean of that image's own; an image that is not in a record adds to it no deviation from its mean.
    """
    compute = info_of(measure).compute
    if not isinstance(compute, MeanOf):
        raise TypeError(f"{measure} is no mean over images")
    return _image_table(compute, records, weights)


def _image_table(
    compute: MeanOf | ShareOf, records: Mapping[Task, Record], weights: Mapping[Task, float]
) -> tuple[dict[str, float], dict[str, str]]:
    contents: dict[str, str] = {}
    for record in records.values():
        contents |= dict(zip(record.images["id"].tolist(), record.contents, strict=True))
    deviations = dict.fromkeys(contents, 0.0)
    mean = 0.0
    for task, record in records.items():
        values = compute.values(record)
        known = ~np.isnan(values)
        own = float(values[known].mean())
        mean += weights[task] * own
        share = weights[task] * len(contents) / int(known.sum())
        for image, value in zip(record.images["id"][known], values[known], strict=True):
            deviations[image] += share * (float(value) - own)
    return {image: mean + deviation for image, deviation in deviations.items()}, contents


def _interval_of_means(
    compute: MeanOf | ShareOf, records: Mapping[Task, Record], weights: Mapping[Task, float]
) -> Interval:
    numbers, contents = _image_table(compute, records, weights)
    interval = share_interval if isinstance(compute, ShareOf) else mean_interval
    return interval([*numbers.values()], [contents[image] for image in numbers])


def _interval_of_orders(compute: RankOf, records: Mapping[Task, Record], weights: Mapping[Task, float]) -> Interval:
    """By leaving out one group of contents of all records at a time; a group is a content, where there are few."""
    images = sorted({image for record in records.values() for image in record.images["id"]})
    places = {image: place for place, image in enumerate(images)}
    contents = [""] * len(images)
    parts = []
    for task, record in records.items():
        rows = np.full(len(images), -1)
        for row, (image, content) in enumerate(zip(record.images["id"], record.contents, strict=True)):
            rows[places[image]] = row
            contents[places[image]] = content
        parts.append((weights[task], rows, compute.of_rows(record)))

    def statistic(chosen: np.ndarray) -> float:
        found = [(weight, rows[chosen], of_rows) for weight, rows, of_rows in parts]
        return float(sum(weight * of_rows(rows[rows >= 0]) for weight, rows, of_rows in found))

    different = sorted(set(contents))
    group = {content: str(number % _MOST_GROUPS) for number, content in enumerate(different)}
    groups = [group[content] for content in contents]
    return replace(statistic_interval(statistic, groups, scale=compute.scale), clusters=len(different))
