"""Train a metric adversarially, for the defenses at-…; a run that was stopped goes on where it was."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from iqa_robustness import __version__, defenses, metrics
from iqa_robustness.bench.devices import prepared_device
from iqa_robustness.bench.experiment import parsed_size
from iqa_robustness.datasets.base import Dataset
from iqa_robustness.defenses.adversarial_training import AdversarialTraining, subject_of
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.training.adversarial import VERSION, Row, Trained, fit_adversarially
from iqa_robustness.training.adversarial_recipe import ADVERSARIES, LABELS, SELECTIONS, AdversarialRecipe
from iqa_robustness.training.attacked_pairs import refuse_leakage
from iqa_robustness.training.commit import commit
from iqa_robustness.training.inner_attack import KINDS
from iqa_robustness.training.label_penalty import PENALTIES
from iqa_robustness.training.pictures import Joined, load
from iqa_robustness.training.progress import Progress
from iqa_robustness.training.ranks import Ranks
from iqa_robustness.training.weights_file import check_output, write_weights

_USUAL = AdversarialRecipe()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness train metric`."""
    parser.add_argument("--iqa-metric", metavar="NAME", required=True, help="what to train, a white-box metric")
    parser.add_argument("--weights", metavar="FILE", help="the metric's own weights, where it takes some")
    parser.add_argument(
        "--iqa-defense",
        metavar="NAME",
        required=True,
        help="at-ssim-2, at-lpips-4, at-lite0-8 …: label penalty and epsilon; at: those of --penalty and --epsilon",
    )
    parser.add_argument(
        "--iqa-dataset",
        metavar="REF",
        action="append",
        required=True,
        help="images to learn from: folder:PATH, leaves, or photographs:PATH, a folder without scores; may be repeated",
    )
    parser.add_argument("--penalty", choices=PENALTIES, help="of the labels of attacked images (with at)")
    parser.add_argument("--epsilon", type=_epsilon, metavar="E", help="of the attack, 4/255 or a number (with at)")
    parser.add_argument(
        "--inner-attack", choices=[*KINDS], default=_USUAL.attack, help="another one than apgd: with at"
    )
    parser.add_argument("--adversary", choices=ADVERSARIES, default=_USUAL.adversary, help="what the attack is after")
    parser.add_argument("--labels", choices=LABELS, default=_USUAL.labels, help="own: the metric's scores before")
    parser.add_argument("--damage", action="store_true", help="scale and distort views at random (labels own)")
    parser.add_argument("--epochs", type=int, default=_USUAL.epochs, help="passes over the images")
    parser.add_argument("--batch", type=int, default=_USUAL.batch, help="views a step and process")
    parser.add_argument("--views", type=int, default=_USUAL.views, help="of each image an epoch")
    parser.add_argument("--size", type=parsed_size, metavar="HxW", help="that images are scaled to cover and cut to")
    parser.add_argument("--side", type=int, default=_USUAL.side, help="of the squares that are shown; 0 for all of it")
    parser.add_argument("--learning-rate", type=float, default=_USUAL.learning_rate, help="of the heads, at first")
    parser.add_argument("--feature-share", type=float, default=_USUAL.feature_share, help="of it, for the features")
    parser.add_argument("--heads", metavar="PATTERNS", default="", help="names of the heads' parameters, by commas")
    parser.add_argument("--selection", choices=SELECTIONS, default=_USUAL.selection, help="SROCC to choose an epoch by")
    parser.add_argument("--seed", type=int, default=_USUAL.seed)
    parser.add_argument("--paper", action="store_true", help="as the published code runs it")
    parser.add_argument("--half", action="store_true", help="write float16, half the size; measured so")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument(
        "--output",
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="a .safetensors file; beside it .csv and .md",
    )


def run(options: argparse.Namespace) -> int:
    """Train, measure, write; prints what is in the file's header."""
    torch.set_num_threads(options.threads)
    check_output(options.output)
    recipe = recipe_of(options)
    ranks = Ranks.of_launcher()
    device = ranks.device(prepared_device(options.device))
    chosen = {"weights": options.weights} if options.weights else {}
    metric = metrics.create(options.iqa_metric, **chosen)
    pictures = load(options.iqa_dataset)
    for part in pictures.parts if isinstance(pictures, Joined) else (pictures,):
        refuse_leakage(part)
    unfinished = options.output.with_name(f"{options.output.name}.unfinished")
    log = options.output.with_suffix(".csv")
    trained = fit_adversarially(
        metric,
        pictures,
        recipe,
        device=device,
        checkpoint=unfinished,
        half=options.half,
        progress=lambda total, first: Progress(label="steps", total=total, start=first),
        log=lambda row: append(row, log),
    )
    if not ranks.leads:
        return 0
    facts = facts_of(trained, metric, pictures, recipe, defense=options.iqa_defense, data=options.iqa_dataset)
    write_weights(trained.network, options.output, facts=facts, half=options.half)
    options.output.with_suffix(".md").write_text(card(facts), encoding="utf-8")
    unfinished.unlink(missing_ok=True)
    print(json.dumps(facts, indent=1))
    print(f"written: {options.output}")
    return 0


def recipe_of(options: argparse.Namespace) -> AdversarialRecipe:
    """The recipe that the command line asks for.

    Raises:
        ConfigurationError: the defense is no adversarial training, or the options contradict its name.
    """
    defense = defenses.create(options.iqa_defense)
    if not isinstance(defense, AdversarialTraining):
        raise ConfigurationError(f"{options.iqa_defense} is no adversarial training", fix="name at-ssim-4 or at")
    own = {"penalty": options.penalty, "epsilon": options.epsilon}
    if defense.penalty:
        if any(own.values()) or options.inner_attack != _USUAL.attack:
            raise ConfigurationError(
                f"{defense.name} says which penalty, epsilon and attack it is trained with",
                fix="name the defense at, and give --penalty, --epsilon and --inner-attack",
            )
        own = {"penalty": defense.penalty, "epsilon": defense.epsilon}
    elif not all(own.values()):
        raise ConfigurationError("at does not say how it is trained", fix="give --penalty and --epsilon")
    return AdversarialRecipe(
        **own,
        attack=options.inner_attack,
        adversary=options.adversary,
        labels=options.labels,
        damage=options.damage,
        epochs=options.epochs,
        batch=options.batch,
        views=options.views,
        size=options.size,
        side=options.side,
        learning_rate=options.learning_rate,
        feature_share=options.feature_share,
        heads=tuple(name for name in options.heads.split(",") if name),
        selection=options.selection,
        seed=options.seed,
        paper=options.paper,
    )


def facts_of(
    trained: Trained, metric: Metric, pictures: Dataset, recipe: AdversarialRecipe, *, defense: str, data: list[str]
) -> dict[str, object]:
    """What the file says of itself, as JSON values; `metrics.trained.read_trained` reads it."""
    return {
        "metric": subject_of(defense, metric.spec.name),
        "version": metric.spec.version,
        "score_range": [*trained.scale.score_range],
        "training": {
            "recipe version": VERSION,
            "package": __version__,
            "commit": commit(),
            "slope": trained.scale.slope,
            "offset": trained.scale.offset,
            "recipe": asdict(recipe),
            "steps": trained.steps,
            "started from": [[file.name, file.sha256] for file in metric.spec.weights],
            "range before": [*metric.spec.score_range],
            # A folder's place is nobody's business; its digest says what it was.
            "data": {
                "names": [reference.partition(":")[0] for reference in data],
                "digest": pictures.digest,
                "images": len(pictures.items),
                "contents": len({item.content for item in pictures.items}),
            },
            "penalty files": [[file.name, file.sha256] for file in trained.files],
            "report": trained.report,
        },
    }


def card(facts: Mapping[str, object]) -> str:
    """The facts for people, in Markdown."""
    lines = [f"# {facts['metric']}", ""]

    def add(name: str, value: object, depth: int) -> None:
        if isinstance(value, Mapping):
            lines.append(f"{'  ' * depth}- {name}:")
            for inner, part in value.items():
                add(str(inner), part, depth + 1)
        else:
            lines.append(f"{'  ' * depth}- {name}: {value}")

    for name, value in facts.items():
        if name != "metric":
            add(name, value, 0)
    return "\n".join([*lines, ""])


def append(row: Row, path: Path) -> None:
    """One line more of a csv; rounds floats to what can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = row["epoch"] == 1 or not path.exists()
    with path.open("w" if fresh else "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*row])
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})


def _epsilon(text: str) -> float:
    number, slash, divisor = text.partition("/")
    try:
        return float(number) / (float(divisor) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no radius, for one 4/255") from None
