"""Time and memory of the gradient attacks.

    python benchmarks/attack_speed.py [overhead|peers|memory] [--metric compact] [--images 8] [--batch 4] [--rounds 9]

overhead: an attack's seconds over those of its forward and backward passes alone, at the same batch.
peers: the same for other libraries' attacks (see requirements.txt), in batches of all images.
memory: peak memory against the number of steps, of images in a batch, and of images in the data set.

Medians over interleaved rounds. On a CPU, seconds of one thread's processor time, so that the machine's other work does
not count; freed memory is kept by the process in all of them alike, as a run of the harness keeps it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from attack_strength import EPSILON, LINF, made, photographs
from peers import Logits, Work, available
from torch import Tensor

from iqa_robustness import attacks, metrics
from iqa_robustness.attacks.base import AttackResult
from iqa_robustness.bench.devices import prepared_device
from iqa_robustness.metrics.base import Metric

STEPS, WARM_UP = 10, 2
LIMITED, MOST = LINF, 1.10


def seconds(function: Callable[[], object], device: str) -> float:
    """Of one call."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - began


def passes(metric: Metric, images: Tensor, batch: int, forwards: int, backwards: int) -> None:
    """So many forwards of all images, of which so many with their backward, and nothing else."""
    for number in range(forwards):
        for part in images.split(batch):
            if number < backwards:
                leaf = part.detach().requires_grad_(True)
                torch.autograd.grad(metric(leaf).sum(), leaf)
            else:
                with torch.inference_mode():
                    metric(part)


def interleaved(subjects: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every subject in every round, after the warm-up."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + WARM_UP):
        for name, function in subjects.items():
            spent = seconds(function, device)
            if number >= WARM_UP:
                found[name].append(spent)
    return found


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def line(name: str, found: dict[str, list[float]], forwards: float, backwards: float, *ratios: float) -> None:
    spent, alone = (1000 * statistics.median(found[key]) for key in (name, f"{name} alone"))
    cells = "".join(f"{value:>10.3f}" for value in (ratio(found[name], found[f"{name} alone"]), *ratios))
    print(f"{name:<24}{forwards:>10.1f}{backwards:>11.1f}{spent:>11.1f}{alone:>11.1f}{cells}", flush=True)


def overhead(metric: Metric, images: Tensor, batch: int, rounds: int, device: str) -> bool:
    """Prints the table; whether all limits are kept."""
    print(f"{'attack':<24}{'forwards':>10}{'backwards':>11}{'ms':>11}{'alone, ms':>11}{'÷ alone':>10}")
    kept = True
    for name in (*LINF, "apgd-l2", "cw"):
        attack = made(name, STEPS)
        last: list[AttackResult] = [attack(metric, images, micro_batch=batch)]
        costs = (round(float(last[0].forwards.float().mean())), int(last[0].backwards[0]))
        subjects = {
            name: lambda attack=attack: attack(metric, images, micro_batch=batch),
            f"{name} alone": lambda costs=costs: passes(metric, images, batch, *costs),
        }
        found = interleaved(subjects, rounds, device)
        line(name, found, *costs)
        kept &= name not in LIMITED or ratio(found[name], found[f"{name} alone"]) <= MOST
    return kept


def peers(metric: Metric, images: Tensor, rounds: int, device: str) -> bool:
    """Prints the table; whether no attack of ours spends more beside its passes than a library's."""
    heads = f"{'forwards':>10}{'backwards':>11}{'ms':>11}{'alone, ms':>11}{'÷ alone':>10}{'÷ ours':>10}"
    print(f"{'attack':<24}{heads}")
    work = Work(epsilon=EPSILON, steps=STEPS, alpha=2.5 * EPSILON / STEPS)
    count, never_slower = len(images), True
    for name in LINF:
        rivals = [peer for peer in available() if peer.same == name]
        if not rivals:
            continue
        attack = made(name, STEPS)
        result = attack(metric, images, micro_batch=count)
        costs = {name: (round(float(result.forwards.float().mean())), int(result.backwards[0]))}
        subjects: dict[str, Callable[[], object]] = {
            name: lambda attack=attack: attack(metric, images, micro_batch=count)
        }
        for peer in rivals:
            logits = Logits(metric).eval()
            peer.run(logits, images, work)
            costs[peer.name] = (logits.forwards // count, logits.backwards // count)
            subjects[peer.name] = lambda peer=peer, logits=logits: peer.run(logits, images, work)
        for who, cost in costs.items():
            subjects[f"{who} alone"] = lambda cost=cost: passes(metric, images, count, *cost)
        found = interleaved(subjects, rounds, device)
        for who, cost in costs.items():
            line(who, found, *cost, ratio(found[who], found[name]))
        ours = statistics.median(found[name]) / statistics.median(found[f"{name} alone"])
        for peer in rivals:
            theirs = statistics.median(found[peer.name]) / statistics.median(found[f"{peer.name} alone"])
            never_slower &= ours <= theirs * 1.01  # the medians' own noise
    return never_slower


def peak(metric: str, name: str, steps: int, images: int, batch: int) -> int:
    """MiB of a fresh process that attacks so many images, so many a call."""
    options = [metric, name, str(steps), str(images), str(batch)]
    done = subprocess.run([sys.executable, __file__, "one", *options], check=True, capture_output=True, text=True)
    return int(done.stdout)


def one(metric: str, name: str, steps: str, images: str, batch: str) -> None:
    prepared_device("cpu")
    attack, subject, size = attacks.create(name, steps=int(steps)), metrics.create(metric), int(batch)
    clean = photographs(min(int(images), 10))
    for start in range(0, int(images), size):
        rows = [row % len(clean) for row in range(start, start + size)]
        attack(subject, clean[rows], micro_batch=size)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def memory(metric: str) -> None:
    print(f"{'attack':<10}{'steps':>8}{'images':>8}{'batch':>8}{'MiB':>8}")
    for name in ("pgd", "apgd"):
        for steps, images, batch in ((5, 8, 4), (40, 8, 4), (5, 16, 4), (5, 32, 4), (5, 16, 8), (5, 16, 16)):
            print(f"{name:<10}{steps:>8}{images:>8}{batch:>8}{peak(metric, name, steps, images, batch):>8}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("overhead", "peers", "memory"), default="overhead")
    parser.add_argument("--metric", default="compact")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = prepared_device(options.device)
    if options.what == "memory":
        memory(options.metric)
        return
    metric = metrics.create(options.metric).to(device)
    images = photographs(options.images).to(device)
    where = "one thread" if device == "cpu" else torch.cuda.get_device_name(device)
    size = "x".join(map(str, images.shape[2:]))
    print(f"{options.metric}, {options.images} images of {size}, {STEPS} steps, {where}, torch {torch.__version__}")
    if options.what == "overhead":
        print(f"batch {options.batch}; {', '.join(LIMITED)}: at most {MOST:.2f}")
        sys.exit(int(not overhead(metric, images, options.batch, options.rounds, device)))
    sys.exit(int(not peers(metric, images, options.rounds, device)))


if __name__ == "__main__":
    main()
