"""Train a bundled metric: the MOS head of `lite0`, or `compact` from its first layer on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr
from torch import Tensor, nn

from iqa_robustness.metrics.compact import CompactNetwork
from iqa_robustness.metrics.lite0 import Lite0Statistics
from iqa_robustness.metrics.trained import TrainedWeights, read_trained
from iqa_robustness.training.evaluation import order_kept, score_range
from iqa_robustness.training.examples import (
    GOOD,
    WHOLE_VIEWS,
    Counts,
    Example,
    balanced,
    damaged_examples,
    human_examples,
    whole_examples,
)
from iqa_robustness.training.linear_head import LinearHead, features_of, fit_linear_heads
from iqa_robustness.training.mos_data import (
    Photograph,
    content_folds,
    contents,
    digest,
    read_folder,
    read_nips2017,
    read_sr4kiqa,
)
from iqa_robustness.training.network_fit import Schedule, fit_compact
from iqa_robustness.training.progress import Progress

# Of the numbers in the files written here; raised whenever the recipe changes.
VERSION = "1"
FOLDS = 5
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
FILES = {"lite0": "lite0-head.safetensors", "compact": "compact.safetensors"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How many examples are made of each photograph; the judged ones lowered, the plain ones damaged."""

    judged: Counts
    lowered: Counts
    damaged: Counts


RECIPES = {
    "lite0": Recipe(
        judged=Counts(part=2, half=1, large=1),
        lowered=Counts(part=4, half=2, large=1),
        damaged=Counts(part=10, half=4, large=2),
    ),
    "compact": Recipe(
        judged=Counts(part=6, half=2),
        lowered=Counts(part=12, half=4),
        damaged=Counts(part=24, half=8),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """What is learned from, and what is kept unseen."""

    judged: Sequence[Photograph]
    plain: Sequence[Photograph]
    unseen: Sequence[Photograph]

    @property
    def digest(self) -> str:
        """Of everything that was learned from."""
        return digest([*self.judged, *self.plain])

    def examples(self, recipe: Recipe, *, seed: int) -> Iterator[Example]:
        """Views of all the photographs, one after the other."""
        return chain(
            whole_examples(self.judged),
            human_examples(self.judged, recipe.judged, seed=seed),
            damaged_examples(self.judged, recipe.lowered, seed=seed + 1),
            damaged_examples(self.plain, recipe.damaged, seed=seed + 2),
        )

    def count(self, recipe: Recipe) -> int:
        """How many `examples` there are."""
        good = sum(photograph.mos is not None and photograph.mos >= GOOD for photograph in self.judged)
        seen_by_people = len(self.judged) * (len(WHOLE_VIEWS) + recipe.judged.total)
        return seen_by_people + good * recipe.lowered.total + len(self.plain) * recipe.damaged.total


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A network that gives scores, the tensors that are shipped of it, and what was measured."""

    network: nn.Module
    shipped: nn.Module
    score_range: tuple[float, float]
    report: dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness train metric-head`."""
    parser.add_argument("--iqa-metric", choices=[*FILES], required=True, help="what to train")
    parser.add_argument("--mos", type=Path, required=True, help="photographs with human scores: images/ and mos.csv")
    parser.add_argument("--photographs", type=Path, required=True, help="photographs to damage: images/ and images.csv")
    parser.add_argument("--unseen", type=Path, required=True, help="folder of PNG photographs to check the order on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="gradient steps (compact)")
    parser.add_argument("--learning-rate", type=float, default=Schedule.learning_rate, help="at its highest (compact)")
    parser.add_argument("--start", type=Path, help="weights to go on from, at a low learning rate (compact)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")


def run(options: argparse.Namespace) -> int:
    """Train, measure, write; prints what it measured."""
    torch.set_num_threads(options.threads)
    photographs = Photographs(
        judged=read_sr4kiqa(options.mos), plain=read_nips2017(options.photographs), unseen=read_folder(options.unseen)
    )
    if options.iqa_metric == "lite0":
        fitted = fit_lite0(photographs, seed=options.seed)
    else:
        schedule = Schedule(steps=options.steps, learning_rate=options.learning_rate)
        start = read_trained(options.start, metric="compact") if options.start else None
        fitted = fit_small_network(photographs, schedule, seed=options.seed, start=start)
    fitted.report["order kept"] = order_kept(fitted.network, photographs.unseen, seed=options.seed)
    path = write(fitted, photographs, metric=options.iqa_metric, folder=options.out, seed=options.seed)
    print(json.dumps(fitted.report, indent=1))
    print(f"written: {path}")
    return 0


def fit_lite0(photographs: Photographs, *, seed: int) -> Fitted:
    """The ridge head on EfficientNet-Lite0: the penalty by cross-validation over contents, then all contents.

    The report's SRCC is that of the cross-validation: every photograph
    is scored by a head that has not seen its content.
    """
    network = Lite0Statistics().eval()
    progress = Progress(label="features", total=photographs.count(RECIPES["lite0"]))
    examples = photographs.examples(RECIPES["lite0"], seed=seed)
    features, kept = features_of(network, examples, done=progress.at)
    folds = content_folds(photographs.judged, FOLDS, seed=seed)
    unseen_scores = torch.zeros(len(PENALTIES), len(kept), dtype=torch.float64)
    for number, fold in enumerate(folds):
        seen = torch.tensor([example.content not in fold for example in kept])
        for row, head in enumerate(_heads(features, kept, seen, penalties=PENALTIES)):
            unseen_scores[row, ~seen] = head.scores(features[~seen])
        print(f"fold {number + 1} of {len(folds)}")
    correlations = [_srocc(scores, kept) for scores in unseen_scores]
    best = max(range(len(PENALTIES)), key=correlations.__getitem__)
    everything = torch.ones(len(kept), dtype=torch.bool)
    (head,) = _heads(features, kept, everything, penalties=[PENALTIES[best]])
    module = head.module()
    return Fitted(
        network=nn.Sequential(network, module),
        shipped=module,
        score_range=score_range(head.scores(features)),
        report={
            "SRCC of photographs of unseen contents": round(correlations[best], 4),
            "how": f"cross-validation, {len(folds)} folds of contents",
            "examples": len(kept),
            "penalty": PENALTIES[best],
            "SRCC by penalty": {
                str(penalty): round(found, 4) for penalty, found in zip(PENALTIES, correlations, strict=True)
            },
        },
    )


def fit_small_network(
    photographs: Photographs, schedule: Schedule, *, seed: int, start: TrainedWeights | None = None
) -> Fitted:
    """`compact` on four of five parts of the judged contents; the report's SRCC is that of the fifth.

    Weights to go on from may have seen that fifth; the report then says so.
    """
    unseen = content_folds(photographs.judged, FOLDS, seed=seed)[0]
    seen = Photographs(
        judged=[photograph for photograph in photographs.judged if photograph.content not in unseen],
        plain=photographs.plain,
        unseen=photographs.unseen,
    )
    # Large views would take most of the time and show nothing that their parts do not.
    examples = [example for example in seen.examples(RECIPES["compact"], seed=seed) if example.view in ("part", "half")]
    progress = Progress(label="steps", total=schedule.steps)
    before = None if start is None else started(start)
    network = fit_compact(examples, schedule=schedule, seed=seed, start=before, progress=progress)
    scores, _ = features_of(network, examples)
    test = [photograph for photograph in photographs.judged if photograph.content in unseen]
    held_out, kept = features_of(network, whole_examples(test))
    return Fitted(
        network=network,
        shipped=network,
        score_range=score_range(scores),
        report={
            "SRCC of photographs of unseen contents": round(_srocc(held_out.double(), kept), 4),
            "how": f"held out: {', '.join(sorted(unseen))} ({len(test)} photographs)",
            "examples": len(examples),
            "schedule": asdict(schedule),
            "start": None if start is None else {"sha256": start.sha256, "may have seen the held-out contents": True},
        },
    )


def started(weights: TrainedWeights) -> CompactNetwork:
    """The network that a file of weights describes."""
    network = CompactNetwork()
    weights.load_into(network)
    return network


def write(fitted: Fitted, photographs: Photographs, *, metric: str, folder: Path, seed: int) -> Path:
    """The weights with everything that `metrics.trained` reads from their header."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILES[metric]
    training = {
        "seed": seed,
        "digest": photographs.digest,
        "contents": contents([*photographs.judged, *photographs.plain]),
        "report": fitted.report,
    }
    facts = {
        "metric": metric,
        "version": VERSION,
        "score_range": json.dumps(fitted.score_range),
        "training": json.dumps(training),
    }
    tensors = {name: value.contiguous() for name, value in fitted.shipped.state_dict().items()}
    save_file(tensors, str(path), metadata=facts)
    return path


def _heads(
    features: Tensor, examples: Sequence[Example], seen: Tensor, *, penalties: Sequence[float]
) -> list[LinearHead]:
    chosen = [example for example, kept in zip(examples, seen.tolist(), strict=True) if kept]
    targets = torch.tensor([example.target for example in chosen], dtype=torch.float64)
    return fit_linear_heads(features[seen], targets, torch.from_numpy(balanced(chosen)), penalties=penalties)


def _srocc(scores: Tensor, examples: Sequence[Example]) -> float:
    """Of the judged photographs as they are, at their full size."""
    rows = [row for row, example in enumerate(examples) if example.kind == "human" and example.view == "full"]
    return float(spearmanr([float(scores[row]) for row in rows], [examples[row].target for row in rows]).statistic)
