"""Train an attack against a metric. What it learns goes into the store, where a run of pytest finds it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact
from iqa_robustness.attacks.trained import TrainedAttack
from iqa_robustness.axes import GOALS
from iqa_robustness.bench.attack_training import artefact_of
from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.profiles import names, profile
from iqa_robustness.bench.stages import Stages
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.store import Store
from iqa_robustness.training.progress import Progress

# Fields of an attack that the command line may set; a run that names the attack alone has their defaults.
_OWN = ("dataset", "epochs", "batch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness train attack`; defaults are those of a run that names the attack alone."""
    parser.add_argument("attack", metavar="NAME", help="uap, cumulative-uap, facpa, or package.module:Class")
    parser.add_argument("--iqa-metric", metavar="NAME", required=True, help="the metric to train against")
    parser.add_argument("--iqa-defense", metavar="NAME", default="none", help="against the metric behind it (adaptive)")
    parser.add_argument("--iqa-strength", choices=attacks.STRENGTHS, default="medium")
    parser.add_argument("--iqa-profile", choices=names(), default="smoke", help="whose image size it is trained for")
    parser.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="folder or fsspec URL of the store")
    parser.add_argument("--goal", choices=GOALS, default=GOALS[0], help="raise or lower the reported quality")
    parser.add_argument(
        "--iqa-dataset", dest="dataset", metavar="REF", help="images to train on: leaves (painted), folder:PATH"
    )
    parser.add_argument("--epochs", type=int, help="passes over these images")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--paper", action="store_true", help="as the published code trains it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--micro-batch", type=int, default=4, help="images a forward pass of the metric")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it here too, for artefact=FILE in Python")


def run(options: argparse.Namespace) -> int:
    """Train, or find in the store what was trained before; prints where it is."""
    chosen: dict[str, Any] = {name: getattr(options, name) for name in _OWN if getattr(options, name) is not None}
    attack = attacks.create(options.attack, strength=options.iqa_strength, paper=options.paper, **chosen)
    if not isinstance(attack, TrainedAttack):
        raise ConfigurationError(
            f"{options.attack} is not trained: it needs nothing before a run",
            fix="name uap, cumulative-uap or facpa",
        )
    device, sizes = prepared_device(options.device), profile(options.iqa_profile)
    pair = Pair(Subject(options.iqa_metric, device=device), options.iqa_defense, n0=sizes.n0, n=sizes.n)
    stages = Stages(
        store=Store(options.iqa_store),
        numerics=Numerics(device=device, micro_batch=options.micro_batch),
        progress=_Lines(),
    )
    training = stages.training(
        attack,
        pair,
        adaptive=pair.defense.kind != "none",
        goal=options.goal,
        size=sizes.size,
        seed=options.seed,
    )
    entry = stages.trained(training)
    learned = artefact_of(entry)
    print(f"{training.label}: sha256 {Artefact(data=learned).sha256}, entry {entry.digest} of {options.iqa_store}")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(learned)
        print(f"written: {options.out}")
    return 0


class _Lines:
    """Tells the progress of a training in lines, with the time left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """The clock starts after the first step: a training that goes on has done others before."""
        if self._progress is None:
            self._progress = Progress(label=f"{stage}, images", total=total, start=done)
        self._progress.at(done)
