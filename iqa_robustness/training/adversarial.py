"""Adversarial training: a metric learns on clean images and on images that attack it while it learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from iqa_robustness.attacks.checkpoint import Checkpoint
from iqa_robustness.datasets.base import Dataset
from iqa_robustness.errors import CapabilityError, ConfigurationError, Where
from iqa_robustness.measures import srocc
from iqa_robustness.metrics.base import Metric, WeightsFile
from iqa_robustness.store import Key
from iqa_robustness.streams import seed_of
from iqa_robustness.training.adversarial_data import Split, Views, split
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe
from iqa_robustness.training.adversarial_report import Calibrated, calibrated, report
from iqa_robustness.training.heads import parameter_groups
from iqa_robustness.training.inner_attack import Objective
from iqa_robustness.training.label_penalty import LabelPenalty
from iqa_robustness.training.norm_in_norm import errors, norm_in_norm
from iqa_robustness.training.progress import Progress
from iqa_robustness.training.ranks import Ranks

# Of the numbers in the files written; raised whenever the recipe changes.
VERSION = 1
Row = Mapping[str, float | int]
# What an order can be told of.
_LEAST_ORDERED = 3


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained metric, and what unseen images say of it.

    network: frozen, in eval mode.
    scale: slope and offset that bring its output to the scale of the labels, and the range it then has.
    report: of the validation and the test images, see `adversarial_report.report`.
    steps: gradient steps taken.
    files: weights that the penalty has read.
    """

    network: Metric
    scale: Calibrated
    report: dict[str, object]
    steps: int
    files: tuple[WeightsFile, ...]


def fit_adversarially(
    metric: Metric,
    pictures: Dataset,
    recipe: AdversarialRecipe,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    half: bool = False,
    progress: Callable[[int, int], Progress] | None = None,
    log: Callable[[Row], None] | None = None,
) -> Trained:
    """The metric of the epoch that orders the validation images best, clean and attacked (with `paper=True`: clean).

    Equal arguments give equal bits on one machine type with one CPU thread, also after an interruption: order, views,
    starts and directions are drawn from the numbers of epoch, step and view. Under torch's launcher (`torchrun`) every
    process takes its share of each epoch and all of them the mean gradient; batches are normalised within a process.
    Cost a step and image: with `apgd` three forwards and two backwards of the attack, two of each of the training,
    the penalty's, and a forward of the first metric where labels are `own`.

    Args:
        metric: is not changed.
        pictures: at least three contents.
        recipe: how.
        device: where it is computed; on a GPU in mixed precision.
        checkpoint: a file that an interrupted training goes on from, and keeps; None for no such thing.
        half: round the trained weights to float16, before anything is measured of them.
        progress: makes a reporter of steps, given all and those done before.
        log: told after every epoch: epoch, step, loss and the validation's two SROCC.

    Raises:
        CapabilityError: the metric has no gradients, no parameters, draws, or compares with references.
        ConfigurationError: fewer than three contents, too few images for a batch, or labels that are no numbers.
        WeightsError: the penalty needs weights that are not here.
    """
    _refuse(metric)
    parts = split([item.content for item in pictures.items], seed=recipe.seed)
    device = torch.device(device)
    teacher = copy.deepcopy(metric).to(device).eval().requires_grad_(False)
    label = _Labels(teacher if recipe.labels == "own" else None, pictures, parts)
    views = {name: Views(pictures, getattr(parts, name), recipe, purpose=name) for name in parts.__dataclass_fields__}
    if len(views["validation"]) < _LEAST_ORDERED:
        raise ConfigurationError(
            f"{len(views['validation'])} views of validation images have no order, {_LEAST_ORDERED} are the least",
            fix="give more images, or more views of each",
        )
    low, high = label.extremes(views["training"], recipe, device)
    penalty = LabelPenalty(recipe.penalty, low=low, high=high, weight=recipe.penalty_weight, device=device)
    ranks = Ranks.of_launcher()
    learner = _Learner(copy.deepcopy(metric), recipe, device, ranks)
    sampler: DistributedSampler[int] = DistributedSampler(
        views["training"], ranks.count, ranks.number, seed=recipe.seed % 2**31, drop_last=True
    )
    steps = len(sampler) // recipe.batch
    if not steps:
        raise ConfigurationError(
            f"{len(sampler)} views an epoch and process are less than a batch of {recipe.batch}",
            fix="give more images, more views of each, or a smaller batch",
        )
    key = {"recipe": asdict(recipe), "version": VERSION, "data": pictures.digest, "ranks": ranks.count}
    saved = None
    first = 0
    if checkpoint is not None:
        name = Key({**key, "metric": metric.spec.name, "files": [f.sha256 for f in metric.spec.weights]}).digest
        saved = Checkpoint(path=checkpoint, training=name)
        if (found := saved.load()) is not None:
            first, state = found
            learner.restore(state, first)
    reporter = progress(steps * recipe.epochs, first) if progress and ranks.leads else None
    batches = _batches(views["training"], sampler, steps, first, recipe)
    for number in range(first, steps * recipe.epochs):
        epoch, place = divmod(number, steps)
        images, opinions = (part.to(device) for part in next(batches))
        value = learner.step(images, label(images, opinions), penalty, number=number, epoch=epoch)
        if place == steps - 1:
            found_here = _validation(learner, views["validation"], label, recipe)
            chosen_by = {**found_here, "mean": (found_here["clean"] + found_here["attacked"]) / 2}
            learner.keep_best(chosen_by[recipe.published.selection], epoch)
            if log is not None and ranks.leads:
                log({"epoch": epoch + 1, "step": number + 1, "loss": value, **found_here})
        if reporter is not None:
            reporter.at(number + 1, f"loss {value:.4f}, best SROCC {float(learner.best):.4f}")
        if saved is not None and ranks.leads:
            saved.offer(number + 1, learner.state)
    if int(learner.epoch) < 0:
        raise ConfigurationError(
            "after no epoch did the scores of the validation images have an order",
            where=Where(metric=metric.spec.name),
            fix="train at a lower learning rate, or on images whose labels differ",
        )
    network = learner.chosen(half=half)
    scale = calibrated(network, views["training"], label, outermost=recipe.paper)
    summary = report(network, scale, teacher, {k: views[k] for k in ("validation", "test")}, label, recipe)
    return Trained(
        network=network,
        scale=scale,
        report={"epoch": int(learner.epoch) + 1, **summary},
        steps=steps * recipe.epochs,
        files=penalty.files,
    )


class _Labels:
    """Labels of views: the opinions, or what the metric said before the training."""

    def __init__(self, teacher: Metric | None, pictures: Dataset, parts: Split) -> None:
        self.teacher = teacher
        self.opinions = [pictures.items[row].mos for row in parts.training]
        if teacher is None and not all(math.isfinite(opinion) for opinion in self.opinions):
            raise ConfigurationError(
                "the images have no opinion scores", fix="take labels own, or a data set with opinion scores"
            )

    def __call__(self, images: Tensor, opinions: Tensor) -> Tensor:
        """(N,) float32."""
        if self.teacher is None:
            return opinions
        with torch.no_grad():
            scores: Tensor = self.teacher(images).float()
        return scores

    def extremes(self, views: Views, recipe: AdversarialRecipe, device: torch.device) -> tuple[float, float]:
        """Least and greatest label of the training images."""
        if self.teacher is None:
            return min(self.opinions), max(self.opinions)
        found = torch.cat([self(images.to(device), opinions) for images, opinions in loader(views, recipe)])
        return float(found.min()), float(found.max())


class _Learner:
    """The metric with its optimiser, and the best weights so far."""

    def __init__(self, metric: Metric, recipe: AdversarialRecipe, device: torch.device, ranks: Ranks) -> None:
        self.metric = metric.to(device).requires_grad_(True).train()
        self.recipe, self.device = recipe, device
        self.parallel: nn.Module = ranks.wrapped(self.metric)
        rate = recipe.learning_rate
        heads, features = parameter_groups(self.metric, recipe.heads)
        self.weights = {**heads, **features}
        self.rates = (rate, rate * recipe.feature_share)
        groups = ([*heads.values()], [*features.values()])
        self.optimizer = torch.optim.Adam([{"params": group} for group in groups])
        self.kept = {name: value.detach().clone() for name, value in self.metric.state_dict().items()}
        self.best = torch.tensor(-math.inf, dtype=torch.float64)
        self.epoch = torch.tensor(-1)

    def step(self, images: Tensor, labels: Tensor, penalty: LabelPenalty, *, number: int, epoch: int) -> float:
        """One step on a batch and its attacked images; the loss before it."""
        thirds = min(3 * epoch // self.recipe.epochs, 2)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * 0.1**thirds
        attacked = self.attacked(images, labels, str(number))
        both = torch.cat([attacked, images])
        targets = torch.cat([penalty(labels, attacked, images), labels])
        with self._mixed():
            scores = self.parallel(both)
        value = norm_in_norm(scores.float(), targets)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return float(value.detach())

    def attacked(self, images: Tensor, labels: Tensor, *purpose: str) -> Tensor:
        """Images that attack the metric as it is now; in eval mode, so that statistics of a batch stay as they are."""
        generator = torch.Generator().manual_seed(seed_of(str(self.recipe.seed), "attack", *purpose))
        if not self.recipe.paper:
            self.metric.eval()
        try:
            return self.recipe.inner(self._objective(labels, generator), images, generator=generator)
        finally:
            self.metric.train()

    def keep_best(self, found: float, epoch: int) -> None:
        """Keep the weights if they are the best so far."""
        if found > float(self.best):
            self.best.fill_(found)
            self.epoch.fill_(epoch)
            for name, value in self.metric.state_dict().items():
                self.kept[name].copy_(value)

    def chosen(self, *, half: bool) -> Metric:
        """The metric with the best weights, rounded to half precision where that is asked for."""
        rounded = {n: v.half().to(v.dtype) if half and v.is_floating_point() else v for n, v in self.kept.items()}
        self.metric.load_state_dict(rounded)
        return self.metric.eval().requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """Everything that decides how it goes on, but the number of steps."""
        state = {"best": self.best, "epoch": self.epoch}
        for name, value in self.metric.state_dict().items():
            state |= {f"state.{name}": value, f"kept.{name}": self.kept[name]}
        for name, parameter in self.weights.items():
            moments = self.optimizer.state[parameter]
            state |= {f"first.{name}": moments["exp_avg"], f"second.{name}": moments["exp_avg_sq"]}
        return state

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a state after so many steps."""
        self.best, self.epoch = state["best"], state["epoch"]
        self.metric.load_state_dict({name: state[f"state.{name}"] for name in self.kept})
        self.kept = {name: state[f"kept.{name}"].to(self.device) for name in self.kept}
        for name, parameter in self.weights.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(steps)),
                "exp_avg": state[f"first.{name}"].to(self.device),
                "exp_avg_sq": state[f"second.{name}"].to(self.device),
            }

    def _objective(self, labels: Tensor, generator: torch.Generator) -> Objective:
        adversary = self.recipe.published.adversary
        if adversary == "error":
            return lambda images: errors(self._scores(images), labels)
        upwards = torch.full((len(labels),), self.metric.spec.sign * 1.0)
        if adversary == "both":
            upwards *= torch.randint(2, (len(labels),), generator=generator) * 2 - 1
        elif adversary == "lower":
            upwards = -upwards
        signs = upwards.to(self.device)
        return lambda images: signs * self._scores(images)

    def _scores(self, images: Tensor) -> Tensor:
        with self._mixed():
            scores: Tensor = self.metric(images)
        return scores.float()

    def _mixed(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda")


def loader(views: Views, recipe: AdversarialRecipe) -> DataLoader[tuple[Tensor, Tensor]]:
    """All views of epoch 0, in order."""
    views.epoch = 0
    return DataLoader(views, recipe.batch)


def _batches(
    views: Views, sampler: DistributedSampler[int], steps: int, first: int, recipe: AdversarialRecipe
) -> Iterator[list[Tensor]]:
    """Batches of this process from step `first` on."""
    for epoch in range(first // steps, recipe.epochs):
        sampler.set_epoch(epoch)
        views.epoch = epoch + 1
        skipped = (first % steps if epoch == first // steps else 0) * recipe.batch
        order = [*sampler][skipped : steps * recipe.batch]
        yield from DataLoader(views, recipe.batch, sampler=order)


def _validation(learner: _Learner, views: Views, label: _Labels, recipe: AdversarialRecipe) -> dict[str, float]:
    """SROCC with the labels of the clean and of the attacked images."""
    found: dict[str, list[Tensor]] = {"labels": [], "clean": [], "attacked": []}
    sign = learner.metric.spec.sign
    for number, (images, opinions) in enumerate(loader(views, recipe)):
        images = images.to(learner.device)
        labels = label(images, opinions.to(learner.device))
        attacked = learner.attacked(images, labels, "validation", str(number))
        learner.metric.eval()
        with torch.no_grad():
            scores = {"clean": learner.metric(images), "attacked": learner.metric(attacked)}
        learner.metric.train()
        for name, values in (("labels", labels), *scores.items()):
            found[name].append(values.float().cpu())
    joined = {name: torch.cat(values).double().numpy() for name, values in found.items()}
    up = sign if label.teacher is None else 1
    return {name: float(srocc(joined["labels"], up * joined[name])) for name in ("clean", "attacked")}


def _refuse(metric: Metric) -> None:
    spec, where = metric.spec, Where(metric=metric.spec.name)
    if spec.access == "query-only" or not any(True for _ in metric.parameters()):
        raise CapabilityError(
            "the metric has no gradients or nothing to learn", where=where, fix="train a white-box network"
        )
    if spec.stochastic or spec.full_reference:
        raise CapabilityError(
            "adversarial training is for no-reference metrics that do not draw", where=where, fix="train another one"
        )
