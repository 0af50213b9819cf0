"""Measure the score range of a metric: clean images and standard distortions of them, quantiles of all scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from iqa_robustness import datasets, metrics
from iqa_robustness.bench.experiment import parsed_size
from iqa_robustness.datasets.base import Dataset, nested_choice
from iqa_robustness.errors import ConfigurationError, RangeTooWideError, Where
from iqa_robustness.images import fit_pixels, from_uint8
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.ranges import Calibration, RangeEntry, Ranges, check_declared_range
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams
from iqa_robustness.training.distortions import Damage, damage

QUANTILES = (0.01, 0.99)
# With fewer, the 1 % quantile is the smallest score of all: 15 images in seven versions are 105 scores.
LEAST_IMAGES = 15

# What the ranges of brisque, niqe and cnniqa were measured on. JPEG's parameter is 100 / quality.
STANDARD: Mapping[str, Damage] = MappingProxyType(
    {
        "gaussian blur, sigma 2": damage("gaussian-blur", 2),
        "gaussian blur, sigma 4": damage("gaussian-blur", 4),
        "white noise, deviation 10 of 255": damage("white-noise", 10),
        "white noise, deviation 30 of 255": damage("white-noise", 30),
        "JPEG, quality 30": damage("jpeg", 100 / 30),
        "JPEG, quality 10": damage("jpeg", 100 / 10),
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness calibrate`."""
    parser.add_argument("metric", metavar="METRIC", help="a registered name, or package.module:Class")
    parser.add_argument("--iqa-dataset", required=True, help="images: mini (bundled), folder:PATH")
    parser.add_argument("--images", type=int, help=f"how many, at least {LEAST_IMAGES}; all when not given")
    parser.add_argument("--size", type=parsed_size, metavar="HxW", help="pixels; every image's own when not given")
    parser.add_argument("--out", type=Path, metavar="FILE", help="YAML file, made or added to; else standard output")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the white noise")


def run(options: argparse.Namespace) -> int:
    """Measure and record; 0 also where the declared range is too wide, which is said."""
    known = _existing(options.out, options.metric)
    data = datasets.load(options.iqa_dataset)
    metric = metrics.create(options.metric, device=options.device)
    entry = calibrated(
        metric,
        data,
        name=options.metric,
        count=options.images,
        size=options.size,
        seed=options.seed,
        progress=_shown if sys.stderr.isatty() else _silent,
    )
    added = Ranges(entries={(entry.metric, entry.kind): entry})
    if options.out is None:
        print(added.to_yaml(), end="")
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(known.completed(added).to_yaml(), encoding="utf-8")
    print(_verdict(metric, entry), file=sys.stderr)
    return 0


def calibrated(
    metric: Metric,
    data: Dataset,
    *,
    name: str = "",
    count: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RangeEntry:
    """The middle 98 % of a metric's scores on images as they are and in the six distortions of `STANDARD`.

    Every image counts seven times, once in each version; a full-reference metric compares all seven with the image's
    reference. Cost: seven forwards an image, no backward.

    Args:
        metric: ready for scoring.
        data: where the images come from.
        name: what the entry is filed under; the spec's name when empty.
        count: images, spread over contents and scores; all when None.
        size: (height, width) in pixels that images are scaled to cover and cut to; None leaves each its own.
        seed: of the white noise, with the image's id.
        progress: called after every image with how many are done, and how many there are.

    Raises:
        ConfigurationError: fewer than `LEAST_IMAGES` images, or scores that hardly differ.
        ScoreShapeError, NonFiniteScoreError: the metric breaks its contract.
    """
    chosen = nested_choice(data.items, count)
    public = data.name.partition(":")[0] if data.name.partition(":")[0] in datasets.registry else data.name
    if len(chosen) < LEAST_IMAGES:
        raise ConfigurationError(
            f"{len(chosen)} images are too few to calibrate a score range, at least {LEAST_IMAGES} are needed",
            where=Where(metric=metric.spec.name, dataset=public),
            fix="give more with --images, or a larger data set",
        )
    device = next((tensor.device for tensor in [*metric.parameters(), *metric.buffers()]), torch.device("cpu"))
    scorer = Scorer(metric=metric, micro_batch=1 + len(STANDARD))
    scores: list[float] = []
    for done, index in enumerate(chosen, start=1):
        image = data.items[index].id
        pixels = data.pixels(index) if size is None else fit_pixels(data.pixels(index), *size)
        draw = np.random.default_rng([seed, *image.encode()])
        versions = np.stack([pixels, *(distort(pixels, draw) for distort in STANDARD.values())])
        streams = Streams(f"calibrate/{seed}", [image, *(f"{image}, {kind}" for kind in STANDARD)], device=device)
        images, references = from_uint8(versions).to(device), None
        if metric.spec.full_reference:
            reference = data.reference_pixels(index)
            fitted = reference if size is None else fit_pixels(reference, *size)
            references = from_uint8(fitted).to(device).expand_as(images)
        scores += scorer.scores(images, streams=streams, references=references).double().tolist()
        progress(done, len(chosen))
    low, high = (float(f"{bound:.6g}") for bound in np.quantile(scores, QUANTILES))
    if low >= high:
        raise ConfigurationError(
            f"the scores of {len(chosen)} images hardly differ: their middle 98 % are {low:g} to {high:g}",
            where=Where(metric=metric.spec.name, dataset=public),
            fix="check that the metric reads its input; a constant has no range",
        )
    return RangeEntry(
        metric=name or metric.spec.name,
        kind="calibrated",
        low=low,
        high=high,
        version=metric.spec.version,
        source=f"iqa-robustness calibrate on {public}",
        images=len(chosen),
        quantiles=QUANTILES,
        calibration=Calibration(
            dataset=public,
            digest=data.digest,
            size=size,
            distortions=tuple(STANDARD),
            scores=len(scores),
            seed=seed,
            image_ids=tuple(data.items[index].id for index in chosen),
        ),
    )


def _existing(out: Path | None, metric: str) -> Ranges:
    """What is in the file already. A calibration is not replaced in passing: whoever wants that takes it out."""
    if out is None or not out.exists():
        return Ranges(entries={})
    known = Ranges.read(out)
    if (metric, "calibrated") in known.entries:
        raise ConfigurationError(
            f"the file holds a calibrated range of {metric!r} already",
            where=Where(metric=metric, file=str(out)),
            fix="take that entry out of the file, or give another file with --out",
        )
    return known


def _verdict(metric: Metric, entry: RangeEntry) -> str:
    low, high = metric.spec.score_range
    count = (entry.images or 0) * (1 + len(STANDARD))
    said = (
        f"{entry.metric}: the middle 98 % of {count} scores are {entry.low:g} to {entry.high:g}; "
        f"declared ({low:g}, {high:g}), {metric.spec.diam / entry.width:.2f} times as wide"
    )
    try:
        check_declared_range(metric.spec, entry)
    except RangeTooWideError as error:
        return f"{said}\n{type(error).__name__}, once this calibration is used: {error.what}"
    return said


def _shown(done: int, total: int) -> None:
    print(f"\r{done} of {total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _silent(_done: int, _total: int) -> None:
    pass
