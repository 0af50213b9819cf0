"""What an adversarially trained metric is worth on images that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import srocc
from iqa_robustness.metrics.base import Metric
from iqa_robustness.training.adversarial_data import Views
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe
from iqa_robustness.training.evaluation import score_range
from iqa_robustness.training.inner_attack import InnerAttack

Labels = Callable[[Tensor, Tensor], Tensor]
# Stronger than what was trained against, and far cheaper than a cell: an estimate.
_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What brings a network's output to the scale of the labels: slope · output + offset.

    score_range: (low, high) of the result on the training images.
    """

    slope: float
    offset: float
    score_range: tuple[float, float]


def calibrated(network: Metric, views: Views, labels: Labels, *, outermost: bool = False) -> Calibrated:
    """Slope and offset by least squares over the training views, which the norm-in-norm loss leaves open.

    Args:
        network: frozen.
        views: of the training images.
        labels: of views.
        outermost: take the least and the greatest score for the range, not the outermost but half a per cent.

    Raises:
        ConfigurationError: the network gives all images the same score.
    """
    outputs, targets = _outputs(network, views, labels)
    if float(np.ptp(outputs)) == 0:
        raise ConfigurationError("the trained metric gives all images one score", fix="train at a lower learning rate")
    slope, offset = (float(value) for value in np.polyfit(outputs, targets, 1))
    scores = torch.from_numpy(slope * outputs + offset)
    found = (float(scores.min()), float(scores.max())) if outermost else score_range(scores)
    return Calibrated(slope=slope, offset=offset, score_range=found)


def report(
    network: Metric,
    scale: Calibrated,
    before: Metric,
    parts: Mapping[str, Views],
    labels: Labels,
    recipe: AdversarialRecipe,
) -> dict[str, object]:
    """For each part: SROCC with the labels, clean and raised, and the mean shift in per cent of the first range.

    The attack is ten steps of a quarter of the ball each, upwards, on the trained metric and on the one before.
    """
    attack = InnerAttack(epsilon=recipe.epsilon, steps=_STEPS, alpha=0.25, momentum=False)
    width = before.spec.diam
    found: dict[str, object] = {}
    for name, views in parts.items():
        rows: dict[str, list[Tensor]] = {}
        for images, opinions in DataLoader(views, recipe.batch):
            images = images.to(next(network.parameters()).device)
            columns = {"labels": labels(images, opinions.to(images.device))}
            for who, metric, slope in (("after", network, scale.slope), ("before", before, 1.0)):
                attacked = _raised(metric, attack, images, np.sign(slope))
                with torch.no_grad():
                    columns |= {who: slope * metric(images), f"{who} raised": slope * metric(attacked)}
            for column, values in columns.items():
                rows.setdefault(column, []).append(values.float().cpu())
        joined = {column: torch.cat(values).double().numpy() for column, values in rows.items()}
        found[name] = {
            "views": len(views),
            **{
                f"SROCC {column}": round(float(srocc(joined["labels"], joined[column])), 4)
                for column in ("after", "after raised", "before", "before raised")
            },
            **{
                f"shift {who}, %": round(float(np.abs(joined[f"{who} raised"] - joined[who]).mean() / width * 100), 2)
                for who in ("after", "before")
            },
        }
    return found


def _raised(metric: Metric, attack: InnerAttack, images: Tensor, sign: float) -> Tensor:
    upwards = sign * metric.spec.sign
    return attack(lambda inputs: upwards * metric(inputs).float(), images, generator=torch.Generator())


def _outputs(network: Metric, views: Views, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    views.epoch = 0
    device = next(network.parameters()).device
    outputs, targets = [], []
    with torch.no_grad():
        for images, opinions in DataLoader(views, views.recipe.batch):
            images = images.to(device)
            outputs.append(network(images).float().cpu())
            targets.append(labels(images, opinions.to(device)).float().cpu())
    return torch.cat(outputs).double().numpy(), torch.cat(targets).double().numpy()
