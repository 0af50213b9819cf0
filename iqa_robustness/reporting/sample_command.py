"""Choose images that spread over content and quality, and write them as a list that can be committed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from iqa_robustness import datasets
from iqa_robustness.datasets.sampling import Chosen, described, sample_table, sampled
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.reporting.columns import aligned
from iqa_robustness.reporting.dataset_figures import cluster_figure

# What the published checkpoints of these metrics were trained on.
TRAINED_ON = {"koniq": ("koncept", "linearity", "maniqa")}
_SEEN = ("training", "validation")
_EVERY = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness dataset sample`."""
    parser.add_argument("dataset", metavar="REF", help="koniq:PATH, folder:PATH …")
    parser.add_argument("--clusters", type=int, default=10, help="of spatial information, colourfulness and MOS [10]")
    parser.add_argument("--per-cluster", type=int, default=100, help="images of each [100]")
    parser.add_argument("--seed", type=int, default=0, help="of K-Means and of the draw [0]")
    parser.add_argument(
        "--allow-train", action="store_true", help="take images that metrics were trained on; says which and how many"
    )
    parser.add_argument("--out", type=Path, default=Path("sample.csv"), help="the list; its picture lies beside it")


def run(options: argparse.Namespace) -> int:
    """Describe the images, draw, write list and picture, say what was drawn."""
    reference = _allowed(options.dataset, allow_train=options.allow_train)
    data = datasets.load(reference)
    images = described(data, progress=_said)
    chosen = sampled(images, clusters=options.clusters, per_cluster=options.per_cluster, seed=options.seed)
    drawn = [one for one in chosen if one.rank >= 0]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(sample_table(chosen), encoding="utf-8")
    picture = options.out.with_suffix(".png")
    title = f"{data.name}: {len(drawn)} of {len(data)} images, {options.clusters} clusters, seed {options.seed}"
    picture.write_bytes(cluster_figure(chosen, title=title))
    print(spoken(chosen, clusters=options.clusters, per_cluster=options.per_cluster))
    for line in leaks(reference, drawn):
        print(line)
    print(f"written: {options.out}, {picture}")
    print(f"use it: --iqa-dataset {reference}@list={options.out}; fewer images are those of lowest rank")
    return 0


def spoken(chosen: Sequence[Chosen], *, clusters: int, per_cluster: int) -> str:
    """A line for each cluster: how many images it has, how many were drawn, and its means."""
    lines: list[tuple[str, ...]] = [("cluster", "images", "drawn", "SI", "CF", "MOS")]
    for cluster in range(clusters):
        own = [one for one in chosen if one.cluster == cluster]
        means = [sum(values) / len(own) for values in zip(*((o.si, o.cf, o.item.mos) for o in own), strict=True)]
        drawn = sum(one.rank >= 0 for one in own)
        lines.append((str(cluster), str(len(own)), str(drawn), *(f"{mean:.1f}" for mean in means)))
    short = sum(int(line[2]) < per_cluster for line in lines[1:])
    note = f"\n{short} clusters have fewer than {per_cluster} images: the sample is smaller than asked for"
    return aligned(lines, left=1) + (note if short else "")


def leaks(reference: str, drawn: Sequence[Chosen]) -> list[str]:
    """What of a sample metrics have seen in training, in words; nothing where nothing is known."""
    seen = Counter(one.part for one in drawn if one.part in _SEEN)
    metrics = TRAINED_ON.get(reference.partition(":")[0], ())
    if not seen:
        return []
    counts = ", ".join(f"{count} {part} images" for part, count in sorted(seen.items()))
    whom = f"; {', '.join(metrics)} were trained on this split" if metrics else ""
    return [f"LEAK: the sample has {counts}{whom}. Their clean scores are better here than on images they never saw."]


def _allowed(reference: str, *, allow_train: bool) -> str:
    if reference.partition(":")[0] != "koniq":
        return reference
    if "@part=" not in reference:
        # Options may follow the path only; the part is one of them.
        return f"{reference}@part=all" if allow_train else reference
    if "@part=test" not in reference and not allow_train:
        raise ConfigurationError(
            f"{reference} has images that koncept, linearity and maniqa were trained on",
            fix="leave @part= out to sample the test images, or give --allow-train",
        )
    return reference


def _said(done: int, total: int) -> None:
    if done and done % _EVERY == 0:
        print(f"{done} of {total} images described", file=sys.stderr, flush=True)
