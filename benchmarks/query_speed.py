"""What query attacks cost beside the metric: their queries a second ÷ the metric's own forwards a second.

    python benchmarks/query_speed.py [--images 4] [--size 192x256] [--queries 40] [--rounds 9]
                                     [--metrics compact,lite0]

One CPU thread, in its own processor time, so that other programs of the machine matter little; bare forwards have the
attack's micro-batches of 4 and are timed before and after every attack. Attacks are short, so that both see the same
machine: with 200 queries of 8 images, half a minute on lite0, ratios of one attack were 0.82 in one run and 0.96 in
another. Medians of interleaved rounds. A ratio of 1 would be an attack that costs nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from iqa_robustness import attacks, datasets, metrics
from iqa_robustness.datasets.base import view
from iqa_robustness.metrics.scoring import Scorer

MICRO_BATCH = 4


def seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", default="192x256")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--attacks", default=",".join(e.name for e in attacks.list() if e.access == "black-box"))
    parser.add_argument("--metrics", default="compact,lite0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    height, width = (int(side) for side in options.size.split("x"))
    images = view(datasets.load("mini"), count=options.images, size=(height, width)).batch(range(options.images))
    subjects = {name: metrics.create(name) for name in options.metrics.split(",")}
    rivals = {name: attacks.create(name, queries=options.queries) for name in options.attacks.split(",")}
    ratios: dict[tuple[str, str], list[float]] = {}
    forwards: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for subject, metric in subjects.items():
            scorer = Scorer(metric=metric, micro_batch=MICRO_BATCH)

            def bare(scorer: Scorer = scorer) -> float:
                return seconds(lambda: [scorer.scores(images) for _ in range(10)]) / (10 * len(images))

            before = bare()
            for name, attack in rivals.items():
                results = []
                spent = seconds(lambda: results.append(attack(metric, images, micro_batch=MICRO_BATCH)))  # noqa: B023
                after = bare()
                forward, before = (before + after) / 2, after
                forwards.setdefault(subject, []).append(forward)
                ratios.setdefault((subject, name), []).append(int(results[0].forwards.sum()) * forward / spent)
    print(
        f"{options.images} images of {height} x {width}, {options.queries} queries, one thread, "
        f"torch {torch.__version__}"
    )
    print(f"{'attack':<16}" + "".join(f"{name:>12}" for name in subjects))
    print(f"{'forward, ms':<16}" + "".join(f"{1000 * statistics.median(forwards[name]):>12.2f}" for name in subjects))
    for rival in rivals:
        print(f"{rival:<16}" + "".join(f"{statistics.median(ratios[name, rival]):>12.2f}" for name in subjects))


if __name__ == "__main__":
    main()
