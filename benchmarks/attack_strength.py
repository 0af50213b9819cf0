"""Strength of the gradient attacks: ours against other libraries' and random search, with the same budget and steps.

    python benchmarks/attack_strength.py [--metrics compact,lite0] [--images 8] [--steps 10,50] [--seeds 3] [--l2]

Every result is rounded to 8 bits inside the budget and scored by the metric; gains are means over the images in per
cent of the score range. `÷ ours` is a peer's gain over that of the same attack of ours; above 1 ÷ 0.98 the run ends
with exit code 1. Metrics that need weights are given as `cnniqa=PATH`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peers import Logits, Peer, Work, available
from torch import Tensor

from iqa_robustness import attacks, datasets, metrics
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.objectives import RAISE
from iqa_robustness.datasets.base import view
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer

EPSILON, LEAST_PSNR, LEAST_SHARE = 4 / 255, 35.0, 0.98
LINF = ("fgsm", "ifgsm", "mi-fgsm", "ami-fgsm", "pgd", "apgd")
L2 = ("apgd-l2", "cw")
SIZE = (192, 256)


def photographs(count: int) -> Tensor:
    """Undistorted photographs of the bundled data set, (count, 3, 192, 256)."""
    mini = datasets.load("mini")
    cut = view(mini, size=SIZE)
    originals = [row for row, item in enumerate(mini.items) if item.id.endswith("-0")]
    return torch.cat([cut.batch(range(row, row + 1)) for row in originals[:count]])


def made(name: str, steps: int) -> Attack:
    """An attack of ours with the steps asked for, and the step size that the peers get too."""
    if name in L2:
        options = {"steps": steps} if name == "apgd-l2" else {"searches": max(steps // 10, 1)}
        return attacks.create(name, least_psnr=LEAST_PSNR, **options)
    options = {} if name == "fgsm" else {"steps": steps}
    return attacks.create(name, epsilon=EPSILON, **options, **({"alpha": EPSILON / steps} if name == "ifgsm" else {}))


def values(metric: Metric, images: Tensor) -> Tensor:
    return RAISE.values(Scorer(metric=metric, micro_batch=len(images)).scores(images), metric.spec)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: passes an image, seconds a run; same: the attack of ours to compare with."""

    name: str
    same: str
    gain: float
    forwards: float
    backwards: float
    seconds: float


def ours(name: str, metric: Metric, clean: Tensor, steps: int, seeds: int) -> Row:
    began = time.perf_counter()
    results = [made(name, steps)(metric, clean, seed=seed, micro_batch=len(clean)) for seed in range(seeds)]
    return Row(
        name=name,
        same=name,
        gain=sum(float((result.values - result.clean_values).mean()) for result in results) / seeds,
        forwards=float(results[0].forwards.float().mean()),
        backwards=float(results[0].backwards.float().mean()),
        seconds=(time.perf_counter() - began) / seeds,
    )


def theirs(peer: Peer, metric: Metric, clean: Tensor, steps: int, seeds: int) -> Row:
    logits, budget, gain = Logits(metric).eval(), made(peer.same, steps).budget, 0.0
    radius = EPSILON if budget.restriction == "linf" else budget.limit * math.sqrt(clean[0].numel())
    reach = 1.0 if peer.same in ("ifgsm", "mi-fgsm") else 2.5
    work = Work(epsilon=radius, steps=steps, alpha=reach * EPSILON / steps)
    start, began = values(metric, clean), time.perf_counter()
    for seed in range(seeds):
        torch.manual_seed(seed)
        found = budget.admit(peer.run(logits, clean, work).detach(), clean)
        gain += float((values(metric, found) - start).mean()) / seeds
    runs = len(clean) * seeds
    return Row(
        name=peer.name,
        same=peer.same,
        gain=gain,
        forwards=logits.forwards / runs,
        backwards=logits.backwards / runs,
        seconds=(time.perf_counter() - began) / seeds,
    )


def random_search(metric: Metric, clean: Tensor, steps: int) -> Row:
    """The best of so many random corners of the ball as the steps cost: a backward is about two forwards."""
    generator, budget, began = torch.Generator().manual_seed(0), made("fgsm", steps).budget, time.perf_counter()
    start = best = values(metric, clean)
    for _ in range(3 * steps):
        signs = torch.randint(0, 2, clean.shape, generator=generator).mul(2).sub(1).to(clean)
        best = torch.maximum(best, values(metric, budget.admit(clean + EPSILON * signs, clean)))
    return Row(
        name="random search",
        same="pgd",
        gain=float((best - start).mean()),
        forwards=3 * steps + 1,
        backwards=0,
        seconds=time.perf_counter() - began,
    )


def rows(metric: Metric, clean: Tensor, steps: int, seeds: int, *, l2: bool) -> Iterator[Row]:
    for name in L2 if l2 else LINF:
        yield ours(name, metric, clean, steps, seeds)
    for peer in available():
        if peer.same in (L2 if l2 else LINF):
            yield theirs(peer, metric, clean, steps, seeds)
    if not l2:
        yield random_search(metric, clean, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", default="compact,lite0")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", default="10,50")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--l2", action="store_true", help="the attacks down to 35 dB instead of those within 4/255")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clean, worst = photographs(options.images), 0.0
    bound = f"{LEAST_PSNR:g} dB" if options.l2 else "4/255"
    print(f"{options.images} images of {SIZE[0]} x {SIZE[1]}, {bound}, one thread, torch {torch.__version__}")
    for named in options.metrics.split(","):
        name, _, weights = named.partition("=")
        metric = metrics.create(name, **({"weights": weights} if weights else {}))
        for steps in (int(number) for number in options.steps.split(",")):
            print(f"\n{name}, {steps} steps")
            print(f"{'attack':<24}{'gain, %':>10}{'÷ ours':>9}{'forwards':>10}{'backwards':>11}{'seconds':>9}")
            gains: dict[str, float] = {}
            for row in rows(metric, clean, steps, options.seeds, l2=options.l2):
                share = row.gain / gains.setdefault(row.same, row.gain)
                worst = max(worst, share)
                cells = f"{100 * row.gain:>10.2f}" + (" " * 9 if row.name == row.same else f"{share:>9.3f}")
                print(
                    f"{row.name:<24}{cells}{row.forwards:>10.1f}{row.backwards:>11.1f}{row.seconds:>9.1f}", flush=True
                )
    sys.exit(int(worst * LEAST_SHARE > 1))


if __name__ == "__main__":
    main()
