"""Speed on a GPU at the published sizes, agreement with the CPU, and what the whole benchmark would take.

    python benchmarks/gpu.py [--device auto] [--metrics koncept,…] [--size 384x512] [--images 16] [--batch 16]
                             [--steps 10] [--queries 100] [--samples 200] [--rounds 3] [--json FILE]

agreement: scores, the gain of an attack and certified bounds on the device against those on the CPU, in per cent of the
    metric's range; the limits are in `LIMITS`, and one that is not kept ends the script with 1.
speed: images a second, and the share of the bare model's throughput: seconds that the same passes take at the same
    batch with nothing around them ÷ seconds of the attack, or of the certificate.
projection: hours of one device for all cells of the profile `paper` with the seven published metrics and 1,000 images,
    from the passes of `iqa-robustness plan` and the seconds measured here. The published study took 5,000 GPU-hours
    (arXiv 2408.01541: 8 × A100); the goal is 500.

The networks are the published architectures with random weights: speed does not depend on them. float32 without TF32,
as runs of the harness have it: other arithmetic would be other numbers, under other keys.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from iqa_robustness import attacks, datasets, defenses, metrics
from iqa_robustness.axes import SCENARIOS
from iqa_robustness.bench import estimate
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import prepared_device
from iqa_robustness.bench.plan import Selection, Sizes, planned
from iqa_robustness.bench.profiles import profile
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import IqaRobustnessError
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.streams import Streams

SEVEN = ("fpr", "koncept", "linearity", "maniqa", "meta-iqa", "paq2piq", "spaq")
PUBLISHED_HOURS, GOAL_HOURS, PUBLISHED_IMAGES = 5_000, 500, 1_000
# Largest differences between device and CPU, per cent of the metric's range.
LIMITS = {"score": 0.01, "gain": 1.0, "bounds": 0.1}
# Images that agreement is looked at on: the CPU has to compute them too.
COMPARED = 2


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one metric. Seconds are of one image, `forward` and `gradient` (both passes) of the bare model."""

    metric: str
    forward: float
    gradient: float
    ifgsm: float
    ifgsm_share: float
    square: float
    square_share: float
    certify: float
    certify_share: float
    peak_mebibytes: float


def untrained(name: str, device: str) -> Metric:
    """A published metric with random weights of a fixed seed instead of its file."""
    module = importlib.import_module(metrics.registry.resolve(name).target.partition(":")[0])

    def build(network: Callable[[], nn.Module], *_: object, **__: object) -> tuple[nn.Module, WeightsFile]:
        torch.manual_seed(0)
        return network().eval(), WeightsFile(name="random", sha256="0" * 64, origin="benchmarks/gpu.py")

    with mock.patch.object(module, "load_published", build):
        return metrics.create(name, device=device)


def seconds(function: Callable[[], object], device: str, rounds: int) -> float:
    """Median of the rounds after a first one that does not count."""
    found = []
    for number in range(rounds + 1):
        synchronised(device)
        began = time.perf_counter()
        function()
        synchronised(device)
        if number:
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def synchronised(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def forward(metric: Metric, images: Tensor, batch: int) -> None:
    with torch.inference_mode():
        for part in images.split(batch):
            metric(part)


def gradient(metric: Metric, images: Tensor, batch: int) -> None:
    for part in images.split(batch):
        leaf = part.detach().requires_grad_(True)
        torch.autograd.grad(metric(leaf).sum(), leaf)


def certified(metric: Metric, images: Tensor, samples: int, batch: int) -> Any:
    streams = Streams("gpu", [str(number) for number in range(len(images))], device=images.device)
    return defenses.create("ms", n=samples).protect(metric).certify(images, streams=streams, micro_batch=batch)


def agreement(name: str, images: Tensor, device: str, options: argparse.Namespace) -> dict[str, float]:
    """Largest differences from the CPU, per cent of the range."""
    few = images[:COMPARED].cpu()
    attack = attacks.create("ifgsm", steps=3)
    found = []
    for place in ("cpu", device):
        metric = untrained(name, place)
        here = few.to(place)
        with torch.inference_mode():
            scores = metric(here).double().cpu()
        result = attack(metric, here, seed=0, micro_batch=COMPARED)
        gains = (result.values - result.clean_values).double().cpu() * metric.spec.diam
        bounds = certified(metric, here[:1], min(options.samples, 100), COMPARED)
        found.append((scores, gains, torch.stack([bounds.lower, bounds.upper]).double().cpu()))
        diam = metric.spec.diam
    # Few samples have no bounds; none here and none there is no difference.
    differences = (
        torch.where((one == other) | (one.isnan() & other.isnan()), 0.0, (one - other).abs())
        for one, other in zip(*found, strict=True)
    )
    return {kind: float(each.max()) / diam * 100 for kind, each in zip(LIMITS, differences, strict=True)}


def speed(name: str, images: Tensor, device: str, options: argparse.Namespace) -> Speed:
    metric, batch, count = untrained(name, device), options.batch, len(images)

    def spent(function: Callable[[], object]) -> float:
        return seconds(function, device, options.rounds)

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    bare, both = (spent(lambda each=each: each(metric, images, batch)) / count for each in (forward, gradient))
    shares = {}
    for kind, fields in (("ifgsm", {"steps": options.steps}), ("square", {"queries": options.queries})):
        attack = attacks.create(kind, **fields)
        result = attack(metric, images, seed=0, micro_batch=batch)
        backwards = float(result.backwards.float().mean())
        alone = both * backwards + bare * (float(result.forwards.float().mean()) - backwards)
        taken = spent(lambda attack=attack: attack(metric, images, seed=0, micro_batch=batch)) / count
        shares[kind] = (taken, alone / taken)
    certificate = spent(lambda: certified(metric, images[:1], options.samples, batch))
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else float("nan")
    return Speed(
        metric=name,
        forward=bare,
        gradient=both,
        ifgsm=shares["ifgsm"][0],
        ifgsm_share=shares["ifgsm"][1],
        square=shares["square"][0],
        square_share=shares["square"][1],
        certify=certificate,
        certify_share=bare * options.samples / certificate,
        peak_mebibytes=peak,
    )


def purified(images: Tensor, device: str, options: argparse.Namespace) -> dict[str, float | None]:
    """Seconds an image of the profile's purifications; None of one whose weights are not here."""
    found: dict[str, float | None] = {}
    ids = [str(number) for number in range(len(images))]
    for name in profile("paper").defenses:
        if defenses.registry.resolve(name).kind != "purification":
            continue
        try:
            defense = defenses.create(name)
            if isinstance(defense, nn.Module):
                defense.to(device)

            def run(defense: Any = defense) -> None:
                for start in range(0, len(images), options.batch):
                    rows = slice(start, start + options.batch)
                    defense.purify(images[rows], streams=Streams("gpu", ids[rows], device=device))

            with torch.inference_mode():
                found[name] = seconds(run, device, 1) / len(images)
        except (IqaRobustnessError, RuntimeError, ImportError) as error:
            print(f"{name}: not measured: {str(error).splitlines()[0]}", file=sys.stderr)
            found[name] = None
    return found


def cells_of_the_paper() -> list[Cell]:
    chosen = Selection(metric=SEVEN)
    return [
        cell
        for scenario in SCENARIOS
        for cell in planned(scenario=scenario, profile=profile("paper"), sizes=Sizes(), user=chosen).cells
    ]


def projection(speeds: dict[str, Speed], purifying: dict[str, float | None]) -> dict[str, float]:
    """Hours by scenario; metrics that were not measured count as the mean of those that were."""
    mean = {key: statistics.fmean(getattr(s, key) for s in speeds.values()) for key in ("forward", "gradient")}
    share = statistics.fmean(min(s.ifgsm_share, 1.0) for s in speeds.values())
    hours = dict.fromkeys(SCENARIOS, 0.0)
    # The data set of the study is larger than the bundled one that stands for it here.
    with mock.patch.object(estimate, "_length", return_value=PUBLISHED_IMAGES):
        paid: set[object] = set()
        for members in estimate.grouped(cells_of_the_paper()).values():
            for cell in members:
                # The attack on the bare metric is shared by its group, and counted with its first cell.
                shared = estimate.passes_of([cell]) if members[0] is cell else own(cell)
                forwards, backwards = shared.forwards, shared.backwards
                one = speeds.get(cell.metric)
                bare, both = (one.forward, one.gradient) if one else (mean["forward"], mean["gradient"])
                spent = (bare * max(forwards - backwards, 0) + both * backwards) / share
                slow = purifying.get(cell.defense)
                if slow:
                    through = own(cell)
                    clean = (cell.pair, cell.images) not in paid
                    paid.add((cell.pair, cell.images))
                    scored = (2 + clean) * estimate.images_of(cell)
                    searched = through.forwards + through.backwards if cell.scenario == "adaptive" else 0
                    spent += slow * (scored + searched)
                hours[cell.scenario] += spent / 3600
    return hours


def own(cell: Cell) -> estimate.Passes:
    """What a cell adds to its group: nothing is attacked twice."""
    both, one = estimate.passes_of([cell, cell]), estimate.passes_of([cell])
    return estimate.Passes(forwards=both.forwards - one.forwards, backwards=both.backwards - one.backwards)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--metrics", default=",".join(SEVEN))
    parser.add_argument("--size", default="384x512")
    for name, default in (
        ("images", 16),
        ("batch", 16),
        ("steps", 10),
        ("queries", 100),
        ("samples", 200),
        ("rounds", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = prepared_device(options.device, option="--device")
    height, width = (int(side) for side in options.size.split("x"))
    images = (
        view(datasets.load("mini"), count=options.images, size=(height, width)).batch(range(options.images)).to(device)
    )
    kind = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU, one thread"
    print(
        f"{kind}, torch {torch.__version__}, {options.images} images of {height} x {width}, batches of {options.batch}"
    )
    kept, speeds, differences = True, {}, {}
    print(f"\n{'largest difference from the CPU, %':<36}" + "".join(f"{name:>10}" for name in LIMITS))
    for name in options.metrics.split(","):
        differences[name] = agreement(name, images, device, options)
        kept &= all(differences[name][what] <= limit for what, limit in LIMITS.items())
        print(f"{name:<36}" + "".join(f"{value:>10.4f}" for value in differences[name].values()), flush=True)
    print(f"{'limit':<36}" + "".join(f"{value:>10.4f}" for value in LIMITS.values()))
    heads = ("forward/s", "gradient/s", "ifgsm/s", "of bare", "square/s", "of bare", "certify/s", "of bare", "MiB")
    print(f"\n{'images a second':<18}" + "".join(f"{head:>11}" for head in heads))
    for name in options.metrics.split(","):
        speeds[name] = one = speed(name, images, device, options)
        cells = (1 / one.forward, 1 / one.gradient, 1 / one.ifgsm, one.ifgsm_share, 1 / one.square, one.square_share)
        cells += (1 / one.certify, one.certify_share, one.peak_mebibytes)
        print(f"{name:<18}" + "".join(f"{cell:>11.3f}" for cell in cells), flush=True)
    purifying = purified(images, device, options)
    print("\npurification, images a second: " + ", ".join(f"{k} {1 / v:.1f}" for k, v in purifying.items() if v))
    hours = projection(speeds, purifying)
    print("\nprojected hours of one device: " + ", ".join(f"{k} {v:,.1f}" for k, v in hours.items()))
    print(f"whole benchmark: {sum(hours.values()):,.0f} (published {PUBLISHED_HOURS:,}, goal {GOAL_HOURS})")
    # The profile attacks every defense adaptively with every attack: most of its work.
    print(f"without adaptive cells: {sum(hours.values()) - hours['adaptive']:,.0f}")
    if options.json:
        found = {"device": kind, "torch": torch.__version__, "differences": differences, "purification": purifying}
        found |= {"speeds": [asdict(one) for one in speeds.values()], "hours": hours}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
