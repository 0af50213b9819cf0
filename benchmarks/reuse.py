"""Metric calls that the store saves: 17 defenses × 4 attacks × 3 strengths against runs that compute each cell alone.

    python benchmarks/reuse.py [--images 2] [--queries 40] [--size 128 144]

Both sides are run and counted. *Shared*: one runner, one store, all cells, as pytest runs them; purified clean images,
their scores, and adversarial images are computed once. *Alone*: every cell in a store of its own, as a script that
computes one (defense, attack, strength) at a time would.

A call is one image through the metric, forward alone or forward and backward. Not counted on either side: the proof of
each attack on the planted reference metric, which the shared run makes once a strength, and the probe of the metric.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

from counted import CALLS, Calls

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.store import Store

# All purifications that need no weights, and compositions of them for those that do.
DEFENSES = (
    "color-quantization",
    "crop",
    "diffjpeg",
    "flip",
    "gaussian-blur",
    "jpeg",
    "median-blur",
    "random-noise",
    "resize",
    "rotate",
    "unsharp",
    "upscale",
    "upscale-bicubic",
    "upscale-nearest",
    "flip+jpeg",
    "gaussian-blur+unsharp",
    "median-blur+unsharp",
)
ATTACKS = ("fgsm", "ifgsm", "apgd", "square")
MOST = 0.35


def cell(defense: str, attack: str, strength: str, options: argparse.Namespace) -> Cell:
    """One cell of the grid; without an attack, the pair on clean images."""
    return Cell(
        metric="counted:Counted",
        defense=defense,
        attack=attack,
        strength=strength,
        scenario="nonadaptive" if attack else "clean",
        dataset="mini",
        images=options.images,
        size=tuple(options.size),
        queries=options.queries,
        draws=1,
        n0=1,
        n=1,
    )


def computed(cells: list[Cell], folder: Path, device: str) -> Calls:
    """Compute cells with one runner and one store; what that took."""
    CALLS.take()
    runner = LocalRunner(Store(folder), Numerics(device=device, micro_batch=2))
    for each in cells:
        runner.record(each)
    return CALLS.take()


def in_one_store(attacks: tuple[str, ...], options: argparse.Namespace, device: str) -> Calls:
    """What all defenses and strengths with some attacks take together."""
    with tempfile.TemporaryDirectory() as folder:
        return computed([cell(*axes, options) for axes in product(DEFENSES, attacks, STRENGTHS)], Path(folder), device)


def alone(attack: str, options: argparse.Namespace, device: str) -> Calls:
    """What they take with one attack, each in a store of its own."""
    found = Calls()
    for axes in product(DEFENSES, (attack,), STRENGTHS):
        with tempfile.TemporaryDirectory() as folder:
            found += computed([cell(*axes, options)], Path(folder), device)
    return found


def line(name: str, cells: int, shared: Calls, apart: Calls) -> str:
    """A row of the table."""
    numbers = f"{shared.forwards:,} + {shared.backwards:,} | {apart.forwards:,} + {apart.backwards:,}"
    return f"| {name} | {cells} | {numbers} | {shared.total / apart.total:.3f} |"


def main() -> int:
    """Print the table; exit code 1 when the whole grid needs more than `MOST` of the calls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 144), metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args()
    device = prepared_device("cpu")
    print("| attacks | cells | shared: forward + with backward | alone | ratio |")
    print("|---|---:|---:|---:|---:|")
    each, naive = len(DEFENSES) * len(STRENGTHS), Calls()
    for attack in ATTACKS:
        apart = alone(attack, options, device)
        naive += apart
        print(line(f"{attack} only", each, in_one_store((attack,), options, device), apart), flush=True)
    shared = in_one_store(ATTACKS, options, device)
    print(line("all four", each * len(ATTACKS), shared, naive))
    ratio = shared.total / naive.total
    print(f"\n{len(DEFENSES)} defenses, {options.images} images: {ratio:.3f} of the calls, {MOST} allowed")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
