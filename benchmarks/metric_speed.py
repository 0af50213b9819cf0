"""Time of the bundled metrics on one CPU thread: a forward, and a forward with the backward to the pixels.

    python benchmarks/metric_speed.py [--images 8] [--size 192x256] [--rounds 15]

Medians of interleaved rounds, so that a noisy moment of the machine hits every metric; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.metrics.base import Metric

NAMES = ("compact", "lite0")


def forward(metric: Metric, images: Tensor) -> None:
    with torch.inference_mode():
        metric(images)


def forward_and_backward(metric: Metric, images: Tensor) -> None:
    leaf = images.clone().requires_grad_(True)
    torch.autograd.grad(metric(leaf).sum(), leaf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", default="192x256")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    height, width = (int(side) for side in options.size.split("x"))
    images = torch.rand(options.images, 3, height, width, generator=torch.Generator().manual_seed(0))
    subjects = {name: metrics.create(name) for name in NAMES}
    seconds: dict[tuple[str, str], list[float]] = {}
    for round_number in range(options.rounds + 2):
        for name, metric in subjects.items():
            for kind, function in (("forward", forward), ("with backward", forward_and_backward)):
                began = time.perf_counter()
                function(metric, images)
                if round_number >= 2:
                    seconds.setdefault((name, kind), []).append(time.perf_counter() - began)
    median = {key: 1000 * statistics.median(values) for key, values in seconds.items()}
    print(f"{options.images} images of {height} x {width}, one thread, torch {torch.__version__}")
    heads = ("parameters", "forward, ms", "with backward, ms", "÷ forward", "÷ compact")
    print(f"{'metric':<10}" + "".join(f"{head:>19}" for head in heads))
    for name, metric in subjects.items():
        parameters = sum(parameter.numel() for parameter in metric.parameters())
        once, both = median[name, "forward"], median[name, "with backward"]
        relative = both / median["compact", "with backward"]
        print(f"{name:<10}{parameters:>19,}{once:>19.1f}{both:>19.1f}{both / once:>19.2f}{relative:>19.2f}")


if __name__ == "__main__":
    main()
