"""What certificates cost beside what they cannot do without: the metric's forwards and drawing the noise.

    python benchmarks/certified_speed.py [--size 192x256] [--samples 96] [--batch 8] [--rounds 9] [--device cpu]
                                         [--metrics lite0,compact] [--defenses ms,rs]

A ratio of 1 would be a certificate whose rest (adding the noise, clipping, checking scores, order statistics or votes)
costs nothing: samples a second of `certify` ÷ samples a second of bare forwards of the metric on ready batches and of
drawing as much noise. One CPU thread, in its own processor time, so that other programs of the machine matter little;
on a GPU in seconds, synchronised. Medians of interleaved rounds; the forwards are timed before and after.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from iqa_robustness import datasets, defenses, metrics
from iqa_robustness.datasets.base import view
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams


def seconds(function: Callable[[], object], device: str) -> float:
    clock = time.process_time
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        clock = time.perf_counter
    began = clock()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock() - began


def forwards(metric: Metric, batch: Tensor, samples: int) -> None:
    with torch.inference_mode():
        for _ in range(samples // len(batch)):
            metric(batch)


def noise(batch: Tensor, samples: int) -> None:
    stream = Streams("noise", ["image"], device=batch.device)
    for _ in range(samples // len(batch)):
        stream.normal(*batch.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="192x256")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--metrics", default="lite0,compact")
    parser.add_argument("--defenses", default="ms,rs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples = options.samples // options.batch * options.batch
    height, width = (int(side) for side in options.size.split("x"))
    image = view(datasets.load("mini"), count=1, size=(height, width)).batch(range(1)).to(options.device)
    batch = (image + 0.12 * torch.randn(options.batch, *image.shape[1:], device=options.device)).clamp(0, 1)
    print(
        f"{samples} samples of one image of {height} x {width} in batches of {options.batch}, {options.device}, "
        f"torch {torch.__version__}"
    )
    print(f"{'metric':<12}{'defense':<10}{'forward, ms':>13}{'noise, ms':>11}{'certify, ms':>13}{'ratio':>8}")
    for metric_name in options.metrics.split(","):
        metric = metrics.create(metric_name).to(options.device)
        for name in options.defenses.split(","):
            # Of a classification, the samples that choose the class are among those counted.
            sizes = {"n0": options.batch, "n": samples - options.batch} if name == "rs" else {"n": samples}
            guarded = defenses.create(name, **sizes).protect(metric)
            found: dict[str, list[float]] = {"forward": [], "noise": [], "certify": []}

            def certify(guarded: object = guarded) -> None:
                streams = Streams("key", ["image"], device=options.device)
                guarded.certify(image, streams=streams, micro_batch=options.batch)  # type: ignore[attr-defined]

            for round_number in range(options.rounds + 1):
                before = seconds(lambda: forwards(metric, batch, samples), options.device)  # noqa: B023
                drawn = seconds(lambda: noise(batch, samples), options.device)
                whole = seconds(certify, options.device)
                after = seconds(lambda: forwards(metric, batch, samples), options.device)  # noqa: B023
                if round_number:
                    for kind, value in (("forward", (before + after) / 2), ("noise", drawn), ("certify", whole)):
                        found[kind].append(value)
            ratio = statistics.median(
                (forward + drawn) / whole
                for forward, drawn, whole in zip(found["forward"], found["noise"], found["certify"], strict=True)
            )
            cells = "".join(
                f"{1000 * statistics.median(found[kind]) / samples:>{wide}.2f}"
                for kind, wide in (("forward", 13), ("noise", 11), ("certify", 13))
            )
            print(f"{metric_name:<12}{name:<10}{cells}{ratio:>8.3f}")


if __name__ == "__main__":
    main()
