"""Samples that spread over content and quality: clusters of spatial information, colourfulness and opinion scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item
from iqa_robustness.datasets.reading import OnError, stop, stream
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import seed_of

COLUMNS = ("id", "rank", "cluster", "part", "mos", "si", "cf")
_STARTS = 10


@dataclass(frozen=True, kw_only=True)
class Described:
    """An image as the sampler sees it.

    item: id, score, content.
    part: of the data set's published split; empty without one.
    si: spatial information, levels of 255.
    cf: colourfulness.
    """

    item: Item
    part: str
    si: float
    cf: float


@dataclass(frozen=True, kw_only=True)
class Chosen(Described):
    """An image with its place.

    cluster: 0 to k − 1, those of low SI first.
    rank: in the sample, from 0; the first n ranks are as even over the clusters as n images can be. −1: not in it.
    """

    cluster: int
    rank: int


def spatial_information(pixels: np.ndarray) -> float:
    """SI of one picture: the standard deviation of the Sobel magnitude of luma, without the border of one pixel.

    Args:
        pixels: (H, W, 3) uint8, H and W at least 3.

    Source: ITU-T P.910, 7.8.1; luma by BT.601, levels of 255.
    """
    from scipy.ndimage import sobel

    luma = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    magnitude = np.hypot(sobel(luma, axis=0), sobel(luma, axis=1))[1:-1, 1:-1]
    return float(magnitude.std())


def colourfulness(pixels: np.ndarray) -> float:
    """CF of one picture, 0 for grey ones to about 110 for very colourful ones.

    Args:
        pixels: (H, W, 3) uint8.

    Source: Hasler, Süsstrunk, "Measuring colourfulness in natural images", 2003, the metric M̂⁽³⁾.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    first, second = red - green, (red + green) / 2 - blue
    return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))


def described(
    data: Dataset, *, on_error: OnError = stop, progress: Callable[[int, int], None] | None = None
) -> list[Described]:
    """Every image of a data set with its features; each is decoded once, about 30 ms at 512 × 384.

    Args:
        data: where from.
        on_error: told of an image that cannot be read.
        progress: told images done and images in all.

    Raises:
        ImageReadError: from `on_error`.
    """
    parts = [getattr(row, "part", "") for row in getattr(data, "rows", data.items)]
    found = []
    for row, pixels in stream(data, on_error=on_error):
        if progress is not None:
            progress(row, len(data))
        si, cf = spatial_information(pixels), colourfulness(pixels)
        found.append(Described(item=data.items[row], part=parts[row], si=si, cf=cf))
    return found


def sampled(images: Sequence[Described], *, clusters: int, per_cluster: int, seed: int = 0) -> list[Chosen]:
    """K-Means on the z-scored features, then as many random images of each cluster; clusters take turns in rank.

    A cluster that has fewer gives all. Who is drawn depends on ids and the seed, not on the images' order.

    Args:
        images: described; without opinion scores (NaN), clusters are those of SI and CF alone.
        clusters: how many.
        per_cluster: images of each.
        seed: of K-Means and of the draw.

    Returns:
        All images in their order, those not drawn with rank −1.

    Raises:
        ConfigurationError: fewer different images than clusters, or a number below 1.
    """
    if clusters < 1 or per_cluster < 1:
        raise ConfigurationError(f"{clusters} clusters of {per_cluster} images", fix="give numbers of at least 1")
    features = z_scored(np.array([[one.si, one.cf, one.item.mos] for one in images]).reshape(-1, 3))
    different = len(np.unique(features, axis=0))
    if different < clusters:
        raise ConfigurationError(
            f"{different} different images cannot make {clusters} clusters", fix="ask for fewer, with --clusters"
        )
    labels = _labels(features, [one.si for one in images], clusters, seed)
    ranks = [-1] * len(images)
    for cluster in range(clusters):
        members = [row for row, label in enumerate(labels) if label == cluster]
        members.sort(key=lambda row: seed_of("sample", str(seed), images[row].item.id))
        for turn, row in enumerate(members[:per_cluster]):
            ranks[row] = turn * clusters + cluster
    # Clusters that ran out leave gaps; ranks count what is there.
    dense = {rank: place for place, rank in enumerate(sorted(rank for rank in ranks if rank >= 0))}
    return [
        Chosen(**one.__dict__, cluster=label, rank=dense.get(rank, -1))
        for one, label, rank in zip(images, labels, ranks, strict=True)
    ]


def z_scored(features: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1; those that are constant or unknown become 0."""
    deviation = features.std(axis=0)
    known = np.isfinite(deviation) & (deviation > 0)
    scored = np.zeros_like(features)
    scored[:, known] = (features[:, known] - features[:, known].mean(axis=0)) / deviation[known]
    return scored


def sample_table(chosen: Sequence[Chosen]) -> str:
    """The sample as csv, by rank: what `@list=FILE` takes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sorted((one for one in chosen if one.rank >= 0), key=lambda one: one.rank):
        mos = "" if np.isnan(one.item.mos) else f"{one.item.mos:.6g}"
        writer.writerow((one.item.id, one.rank, one.cluster, one.part, mos, f"{one.si:.4f}", f"{one.cf:.4f}"))
    return text.getvalue()


def _labels(features: np.ndarray, si: Sequence[float], clusters: int, seed: int) -> list[int]:
    """The cluster of each image, numbered by mean SI."""
    # Half a second to import, and only samplers need it.
    from sklearn.cluster import KMeans

    found = KMeans(n_clusters=clusters, n_init=_STARTS, random_state=seed).fit_predict(features)
    means = [np.mean([value for value, label in zip(si, found, strict=True) if label == n]) for n in range(clusters)]
    order = {int(label): place for place, label in enumerate(np.argsort(means))}
    return [order[int(label)] for label in found]
