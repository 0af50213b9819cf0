"""Fitting a small network to labelled images by stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.compact import CompactNetwork
from iqa_robustness.training.distortions import Draw
from iqa_robustness.training.examples import Example, balanced
from iqa_robustness.training.progress import Progress

# Scores are learned on the scale 0 to 1.
_SCORE_UNIT = 100.0
_SMOOTH = 0.05
_FIRST_LOOK = 64


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to learn.

    steps: gradient steps.
    batch: images a step, all of one size.
    learning_rate: at its highest; a tenth of the steps warm up, the rest follow a cosine to zero.
    averaging: share of the running average of the weights that is kept at each step; the average is what is returned.
    """

    steps: int = 4000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    averaging: float = 0.998


def fit_compact(
    examples: Sequence[Example], *, schedule: Schedule, seed: int, progress: Progress | None = None
) -> CompactNetwork:
    """A `CompactNetwork` fitted to the examples' targets; equal seeds give equal weights on one machine.

    One forward and one backward an image and step. Examples are drawn by their balanced weight, mirrored at random.
    """
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CompactNetwork()
    batches = _batches(examples, schedule.batch, draw)
    _standardise(network, examples, draw)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.1
    )
    running = 0.0
    for step in range(1, schedule.steps + 1):
        images, targets = next(batches)
        loss = F.smooth_l1_loss(network(images) / _SCORE_UNIT, targets / _SCORE_UNIT, beta=_SMOOTH)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        # Early weights are poor: the average forgets them faster.
        kept = min(schedule.averaging, step / (step + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - kept)
        running = 0.98 * running + 0.02 * float(loss.detach())
        if progress is not None:
            progress.at(step, f"loss {running / (1 - 0.98**step):.4f}")
    network.load_state_dict(average)
    return network.eval().requires_grad_(False)


def _batches(examples: Sequence[Example], size: int, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
    """Endlessly: images of one size and their targets; each size in proportion to the weight of its examples."""
    weights = balanced(examples)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, example in enumerate(examples):
        shapes.setdefault(example.pixels.shape, []).append(number)
    groups = [np.array(numbers) for numbers in shapes.values()]
    shares = np.array([weights[numbers].sum() for numbers in groups])
    while True:
        numbers = groups[draw.choice(len(groups), p=shares / shares.sum())]
        chosen = draw.choice(numbers, size, p=weights[numbers] / weights[numbers].sum())
        images = from_uint8(np.stack([examples[number].pixels for number in chosen]))
        mirrored = torch.from_numpy(draw.random(size) < 0.5)[:, None, None, None]
        images = torch.where(mirrored, images.flip(3), images)
        yield images, torch.tensor([examples[number].target for number in chosen], dtype=torch.float32)


def _standardise(network: CompactNetwork, examples: Sequence[Example], draw: Draw) -> None:
    """Before the first step: the head sees statistics of mean 0 and deviation 1, and guesses the mean target."""
    smallest = min(example.pixels.size for example in examples)
    alike = [example for example in examples if example.pixels.size == smallest]
    chosen = draw.permutation(len(alike))[:_FIRST_LOOK]
    with torch.no_grad():
        found = network.statistics(from_uint8(np.stack([alike[number].pixels for number in chosen])))
        deviation, center = torch.std_mean(found, dim=0, correction=0)
        network.head.center.copy_(center)
        network.head.scale.copy_(1 / deviation.clamp_min(1e-3 * float(deviation.mean())))
        network.head.output.weight.mul_(_SCORE_UNIT / 4)
        network.head.output.bias.fill_(float(np.mean([example.target for example in examples])))
