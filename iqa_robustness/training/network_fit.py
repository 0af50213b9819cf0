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
from iqa_robustness.training.learners import SCORE_UNIT, ContinuedNetwork, NormalisedNetwork
from iqa_robustness.training.progress import Progress

_SMOOTH = 0.05
# Not quite a tenth: the scheduler divides by zero where a tenth of the steps is exactly one.
_WARM_UP = 0.1 + 1e-9
_SIDE = 128


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to learn.

    steps: gradient steps.
    batch: images a step, all of one size.
    learning_rate: at its highest; a tenth of the steps warm up, the rest follow a cosine to zero.
    averaging: share of the running average of the weights that is kept at each step; the average is what is returned.
    """

    steps: int = 3000
    batch: int = 24
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    averaging: float = 0.995


def fit_compact(
    examples: Sequence[Example],
    *,
    schedule: Schedule,
    seed: int,
    start: CompactNetwork | None = None,
    progress: Progress | None = None,
) -> CompactNetwork:
    """A `CompactNetwork` fitted to the examples' targets; equal seeds give equal weights on one machine.

    One forward and one backward an image and step. Examples are drawn by their balanced weight, mirrored at random.
    With `start`, that network is changed in place and learns on; without, a new one is initialised by the seed.
    """
    draw = np.random.default_rng(seed)
    network = _beginner(examples, seed) if start is None else ContinuedNetwork(start.train().requires_grad_(True))
    batches = _batches(examples, schedule.batch, draw)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, total_steps=schedule.steps, pct_start=_WARM_UP
    )
    running = 0.0
    for step in range(1, schedule.steps + 1):
        images, targets = next(batches)
        loss = F.smooth_l1_loss(network(images), targets / SCORE_UNIT, beta=_SMOOTH)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        # Early weights are poor: the average forgets them faster.
        kept = min(schedule.averaging, step / (step + 10))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - kept)
        running = 0.98 * running + 0.02 * float(loss.detach())
        if progress is not None:
            progress.at(step, f"loss {running / (1 - 0.98**step):.4f}")
    network.load_state_dict(average)
    return network.folded()


def _beginner(examples: Sequence[Example], seed: int) -> NormalisedNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NormalisedNetwork()
    network.output.bias.data.fill_(float(np.mean([example.target for example in examples])) / SCORE_UNIT)
    return network


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
        images = from_uint8(np.stack([_part(examples[number].pixels, draw) for number in chosen]))
        mirrored = torch.from_numpy(draw.random(size) < 0.5)[:, None, None, None]
        images = torch.where(mirrored, images.flip(3), images)
        yield images, torch.tensor([examples[number].target for number in chosen], dtype=torch.float32)


def _part(pixels: np.ndarray, draw: Draw) -> np.ndarray:
    """A random square of `_SIDE` pixels: more images a second, and the score is about the same everywhere."""
    top, left = (int(draw.integers(side - _SIDE + 1)) for side in pixels.shape[:2])
    return pixels[top : top + _SIDE, left : left + _SIDE]
