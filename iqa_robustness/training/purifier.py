"""Fitting a purifying network to pairs of attacked and clean images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iqa_robustness.attacks.checkpoint import Checkpoint
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.similarity import ssim
from iqa_robustness.store import Key
from iqa_robustness.streams import seed_of
from iqa_robustness.training.attacked_pairs import AttackedPairs
from iqa_robustness.training.progress import Progress
from iqa_robustness.training.restoration_loss import RestorationLoss

# Of the numbers in the files written; raised whenever the recipe changes.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network learns to purify. The defaults are the published ones but for `side` and `epochs`.

    loss: see `RestorationLoss`.
    epochs: each shows one square of every training pair.
    batch: pairs a step.
    side: of the squares, in pixels; smaller images are shown whole.
    learning_rate: Adam's at first; it follows a cosine to zero.
    validation: share of the contents that is kept unseen to choose the epoch by.
    """

    loss: str = "mse"
    epochs: int = 100
    batch: int = 4
    side: int = 96
    learning_rate: float = 1e-3
    validation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or self.side < 32:
            raise ConfigurationError(
                "a purifier needs epochs >= 1, batch >= 1 and side >= 32, "
                f"got {self.epochs}, {self.batch} and {self.side}"
            )
        if not (self.learning_rate > 0 and 0 < self.validation < 1):
            raise ConfigurationError(
                "a purifier needs a positive learning rate and a validation share between 0 and 1, "
                f"got {self.learning_rate} and {self.validation}"
            )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained network, and what the unseen pairs say of it.

    network: frozen, on the CPU.
    report: epoch chosen, and over the validation images at full size: SSIM and PSNR (dB) to the clean image, of
        the attacked image, of the purified one, and of the purified clean image.
    steps: gradient steps taken.
    loss_files: weights that the loss has read.
    """

    network: nn.Module
    report: dict[str, object]
    steps: int
    loss_files: tuple[WeightsFile, ...]


def fit_purifier(
    build: Callable[[], nn.Module],
    pairs: AttackedPairs,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    progress: Callable[[int, int], Progress] | None = None,
) -> Fitted:
    """The network of the epoch whose restored squares of unseen images have the highest SSIM to the clean ones.

    Equal arguments give equal bits on one machine type with one CPU thread, also after an interruption: order, places
    and mirroring are drawn from the numbers of epoch and image.
    Cost: a forward and a backward of network and loss for each square, a forward for each validation image an epoch.
    Source: Gushchin et al. 2024 (arXiv 2404.06957), benchmark section 4.2, at a constant learning rate.

    Args:
        build: makes the network; its random initial weights are seeded here.
        pairs: at least two contents.
        recipe: how.
        device: where it is computed.
        checkpoint: a file that an interrupted training goes on from, and keeps; None for no such thing.
        progress: makes a reporter of steps, given all and those done before.

    Raises:
        ConfigurationError: fewer than two contents, or a loss that is none.
        WeightsError: the loss needs weights that are not here.
    """
    loss = RestorationLoss(recipe.loss, device=device)
    seen, unseen = _split(pairs, recipe)
    learner = _Learner(build, recipe, torch.device(device))
    steps = -(-len(seen) // recipe.batch)
    name = Key(
        {
            "recipe": {**asdict(recipe), "loss": loss.name},
            "version": VERSION,
            "pairs": pairs.entry,
            "loss files": [[file.name, file.sha256] for file in loss.files],
            "device": torch.device(device).type,
        }
    ).digest
    saved = None if checkpoint is None else Checkpoint(path=checkpoint, training=name)
    found = saved.load() if saved else None
    first = 0
    if found is not None:
        first, state = found
        learner.restore(state, first)
    reporter = progress(steps * recipe.epochs, first) if progress else None
    for number in range(first, steps * recipe.epochs):
        epoch, place = divmod(number, steps)
        rows = seen[_draws(recipe, "order", epoch).permutation(len(seen))[place * recipe.batch :][: recipe.batch]]
        value = learner.step(loss, *_squares(pairs, rows, recipe, epoch), share=number / (steps * recipe.epochs))
        if place == steps - 1:
            learner.keep_best(_validation(learner.network, pairs, unseen, recipe, device), epoch)
        if reporter is not None:
            reporter.at(number + 1, f"loss {value:.4f}, best SSIM {float(learner.best):.4f}")
        if saved is not None:
            saved.offer(number + 1, learner.state)
    network = learner.chosen()
    return Fitted(
        network=network,
        report={"epoch": int(learner.epoch) + 1, **_report(network, pairs, unseen)},
        steps=steps * recipe.epochs,
        loss_files=loss.files,
    )


class _Learner:
    """The network with its optimiser, and the best weights so far."""

    def __init__(self, build: Callable[[], nn.Module], recipe: Recipe, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(str(recipe.seed), "start"))
            self.network = build().to(device).train()
        self.device, self.rate = device, recipe.learning_rate
        self.weights = dict(self.network.named_parameters())
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=self.rate)
        self.kept = {name: value.detach().clone() for name, value in self.weights.items()}
        self.best = torch.tensor(-math.inf, dtype=torch.float64)
        self.epoch = torch.tensor(-1)

    def step(self, loss: RestorationLoss, attacked: Tensor, clean: Tensor, *, share: float) -> float:
        """One step on a batch, after `share` of all; the mean loss before it."""
        self.optimizer.param_groups[0]["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * share))
        value = loss(self.network(attacked.to(self.device)), clean.to(self.device)).mean()
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return float(value.detach())

    def keep_best(self, similarity: float, epoch: int) -> None:
        """Keep the weights if they are the best so far."""
        if similarity > float(self.best):
            self.best.fill_(similarity)
            self.epoch.fill_(epoch)
            for name, value in self.weights.items():
                self.kept[name].copy_(value.detach())

    def chosen(self) -> nn.Module:
        """The network with the best weights, on the CPU."""
        self.network.load_state_dict(self.kept)
        return self.network.eval().requires_grad_(False).cpu()

    def state(self) -> dict[str, Tensor]:
        """Everything that decides how it goes on, but the number of steps."""
        state = {"best": self.best, "epoch": self.epoch}
        for name, value in self.weights.items():
            moments = self.optimizer.state[value]
            state |= {
                f"weights.{name}": value,
                f"kept.{name}": self.kept[name],
                f"first.{name}": moments["exp_avg"],
                f"second.{name}": moments["exp_avg_sq"],
            }
        return state

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a state after so many steps."""
        self.best, self.epoch = state["best"], state["epoch"]
        with torch.no_grad():
            for name, value in self.weights.items():
                value.copy_(state[f"weights.{name}"])
                self.kept[name].copy_(state[f"kept.{name}"])
                self.optimizer.state[value] = {
                    "step": torch.tensor(float(steps)),
                    "exp_avg": state[f"first.{name}"].to(self.device),
                    "exp_avg_sq": state[f"second.{name}"].to(self.device),
                }


def _split(pairs: AttackedPairs, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows of other contents to choose by."""
    names = sorted(set(pairs.contents))
    if len(names) < 2:
        raise ConfigurationError(
            f"{len(names)} content is too few: one is learned from, another is kept for validation",
            fix="give more images, or contents of their own to those there are",
        )
    count = min(max(1, round(recipe.validation * len(names))), len(names) - 1)
    order = _draws(recipe, "validation", 0).permutation(len(names))
    kept = {names[place] for place in order[:count]}
    unseen = np.array([content in kept for content in pairs.contents])
    return np.flatnonzero(~unseen), np.flatnonzero(unseen)


def _squares(pairs: AttackedPairs, rows: np.ndarray, recipe: Recipe, epoch: int) -> tuple[Tensor, Tensor]:
    """A random square of each pair, mirrored at random: (M, 3, S, S) attacked and clean."""
    both = np.stack([pairs.attacked[rows], pairs.clean[rows]])
    height, width = (min(recipe.side, length) for length in both.shape[2:4])
    cut = np.empty((2, len(rows), height, width, 3), np.uint8)
    for place, row in enumerate(rows):
        draw = _draws(recipe, "square", epoch, int(row))
        top, left = draw.integers(both.shape[2] - height + 1), draw.integers(both.shape[3] - width + 1)
        part = both[:, place, top : top + height, left : left + width]
        cut[:, place] = part[:, :, ::-1] if draw.random() < 0.5 else part
    return from_uint8(cut[0]), from_uint8(cut[1])


def _validation(
    network: nn.Module, pairs: AttackedPairs, rows: np.ndarray, recipe: Recipe, device: torch.device | str
) -> float:
    """Mean SSIM of restored central squares to the clean ones."""
    height, width = (min(recipe.side, length) for length in pairs.clean.shape[1:3])
    top, left = (pairs.clean.shape[1] - height) // 2, (pairs.clean.shape[2] - width) // 2
    place = (slice(top, top + height), slice(left, left + width))
    found = []
    with torch.no_grad():
        for row in rows:
            attacked, clean = (from_uint8(part[row][place][None]).to(device) for part in (pairs.attacked, pairs.clean))
            found.append(float(ssim(network(attacked).clamp(0, 1), clean)))
    return float(np.mean(found))


def _report(network: nn.Module, pairs: AttackedPairs, rows: np.ndarray) -> dict[str, object]:
    """Means over whole images; PSNR is that of the mean squared error, which one perfect image makes not infinite."""
    found = []
    with torch.no_grad():
        for row in rows:
            attacked, clean = (from_uint8(part[row][None]) for part in (pairs.attacked, pairs.clean))
            images = (attacked, *(network(image).clamp(0, 1) for image in (attacked, clean)))
            found.append([(float(ssim(image, clean)), float((image - clean).square().mean())) for image in images])
    means = np.mean(found, axis=0)
    return {
        name: {"SSIM": round(float(similarity), 4), "PSNR": round(-10 * math.log10(max(error, 1e-12)), 2)}
        for name, (similarity, error) in zip(("attacked", "purified", "purified clean"), means, strict=True)
    }


def _draws(recipe: Recipe, purpose: str, *numbers: int) -> np.random.Generator:
    # Counted and not carried on: a training that goes on needs no generator's state.
    return np.random.default_rng(seed_of(str(recipe.seed), purpose, *map(str, numbers)))
