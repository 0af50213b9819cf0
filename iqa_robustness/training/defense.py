"""Train a purifying network on images that an attack made, and the clean ones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from torch import nn

from iqa_robustness import __version__, attacks, datasets, defenses
from iqa_robustness.axes import GOALS
from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.pair import Pair, Subject
from iqa_robustness.bench.profiles import names, profile
from iqa_robustness.bench.stages import Stages
from iqa_robustness.datasets.base import view
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.store import Store, document_of
from iqa_robustness.training.attacked_pairs import attacked_pairs
from iqa_robustness.training.progress import Progress
from iqa_robustness.training.purifier import VERSION, Recipe, fit_purifier
from iqa_robustness.training.restoration_loss import RestorationLoss
from iqa_robustness.training.weights_file import check_output, write_weights

NETWORKS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType({"fcn": FCN})
_USUAL = Recipe()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness train defense`."""
    parser.add_argument("defense", metavar="NAME", help="fcn")
    parser.add_argument(
        "--iqa-attack", "--attack", metavar="NAME", default="advcf", help="what the defense learns to undo (advcf)"
    )
    parser.add_argument("--iqa-metric", metavar="NAME", required=True, help="the metric that is attacked")
    parser.add_argument("--iqa-strength", choices=attacks.STRENGTHS, default="medium", help="of the attack")
    parser.add_argument("--iqa-profile", choices=names(), default="smoke", help="whose image size it is trained for")
    parser.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="keeps the attacked images")
    parser.add_argument("--goal", choices=GOALS, default=GOALS[0], help="what the attack does to the reported quality")
    parser.add_argument(
        "--iqa-dataset", metavar="REF", default="leaves", help="images to train on: leaves (painted), folder:PATH"
    )
    parser.add_argument("--images", type=int, metavar="N", help="how many of them; all when not given")
    parser.add_argument(
        "--loss", default=_USUAL.loss, help="mse, ssim, lpips, lite0-features, or a sum such as mse+ssim"
    )
    parser.add_argument("--epochs", type=int, default=_USUAL.epochs, help="passes over the images")
    parser.add_argument("--batch", type=int, default=_USUAL.batch, help="pairs a step")
    parser.add_argument("--side", type=int, default=_USUAL.side, help="of the squares that are shown, in pixels")
    parser.add_argument("--learning-rate", type=float, default=_USUAL.learning_rate, help="at its highest")
    parser.add_argument("--seed", type=int, default=_USUAL.seed)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--micro-batch", type=int, default=4, help="images a forward pass of the metric")
    parser.add_argument(
        "--output", "--out", type=Path, required=True, metavar="FILE", help="a .safetensors file, for weights=FILE"
    )


def run(options: argparse.Namespace) -> int:
    """Train, or go on where the same command was stopped; writes the file and prints what is in its header."""
    if options.defense not in NETWORKS:
        _ = defenses.registry.resolve(options.defense)
        raise ConfigurationError(
            f"{options.defense} is not trained on attacked images", fix=f"name {' or '.join(NETWORKS)}"
        )
    check_output(options.output)
    recipe = Recipe(
        loss=options.loss,
        epochs=options.epochs,
        batch=options.batch,
        side=options.side,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    attack = attacks.create(options.iqa_attack, strength=options.iqa_strength)
    device, sizes = prepared_device(options.device), profile(options.iqa_profile)
    _ = RestorationLoss(recipe.loss)  # refused here rather than after the attack, which takes minutes
    pair = Pair(Subject(options.iqa_metric, device=device), "none", n0=sizes.n0, n=sizes.n)
    images = view(datasets.load(options.iqa_dataset), count=options.images, size=sizes.size)
    stages = Stages(
        store=Store(options.iqa_store),
        numerics=Numerics(device=device, micro_batch=options.micro_batch),
        progress=_Lines(),
    )
    pairs = attacked_pairs(stages, attack, pair, images, goal=options.goal, seed=options.seed)
    unfinished = options.output.with_name(f"{options.output.name}.unfinished")
    fitted = fit_purifier(
        NETWORKS[options.defense],
        pairs,
        recipe,
        device=device,
        checkpoint=unfinished,
        progress=lambda total, first: Progress(label="steps", total=total, start=first),
    )
    facts = {
        "defense": options.defense,
        "version": VERSION,
        "package": __version__,
        "attack": document_of(attack),
        "goal": options.goal,
        "metric": pair.subject.document,
        # A folder's place is nobody's business; its digest and the names of its contents say what it was.
        "dataset": {
            "name": options.iqa_dataset.partition(":")[0],
            "images": len(pairs),
            "size": [*images.size],
            "digest": images.base.digest,
            "contents": sorted(set(pairs.contents)),
        },
        "pairs": {"entry": pairs.entry, "forwards": pairs.forwards, "backwards": pairs.backwards},
        "recipe": asdict(recipe),
        "steps": fitted.steps,
        "loss files": [[file.name, file.sha256] for file in fitted.loss_files],
        "numerics": stages.numerics.document,
        "report": fitted.report,
    }
    write_weights(fitted.network, options.output, facts=facts)
    unfinished.unlink(missing_ok=True)
    print(json.dumps({name: value for name, value in facts.items() if name != "dataset"}, indent=1))
    print(f"written: {options.output}")
    return 0


class _Lines:
    """Tells how far the attack is in lines, with the time left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """The clock starts with the first call."""
        if self._progress is None:
            self._progress = Progress(label=f"{stage}, images", total=total, start=done)
        self._progress.at(done)
