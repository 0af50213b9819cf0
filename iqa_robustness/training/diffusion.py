"""Train the small diffusion model behind `diffpure`: the noise of photographs, predicted at every level."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness import datasets
from iqa_robustness.attacks.checkpoint import Checkpoint
from iqa_robustness.datasets.base import Dataset
from iqa_robustness.defenses.purification.networks.diffusion_files import write_model
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel, small_network
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.images import from_uint8
from iqa_robustness.similarity import psnr
from iqa_robustness.store import Key
from iqa_robustness.streams import Streams
from iqa_robustness.training.network_fit import Schedule
from iqa_robustness.training.progress import Progress

# Of the recipe; raised whenever it changes, so that no checkpoint of another one is taken up.
VERSION = 1
SIDE = 64
# Deviations of the noise, in units of 1, that purification meets; nine tenths of the training have one of these.
USUAL_SIGMAS = (3 / 255, 100 / 255)
UNUSUAL = 0.1
WARM_UP = 0.05
JUDGED_SIGMAS = (15 / 255, 25 / 255, 50 / 255)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the weights.

    channels: of the network's levels; each next one has half the sides.
    bfloat16: multiply in it: half the time on processors that can; sums and weights stay float32.
    """

    schedule: Schedule
    channels: tuple[int, ...] = (16, 48, 96)
    bfloat16: bool = False
    seed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness train diffusion`."""
    parser.add_argument("--photographs", nargs="+", metavar="REF", required=True, help="data sets: folder:PATH, mini …")
    parser.add_argument("--unseen", nargs="*", metavar="REF", default=[], help="photographs to measure the result on")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the model goes; made if needed"
    )
    parser.add_argument("--steps", type=int, default=10_000, help="gradient steps")
    parser.add_argument("--batch", type=int, default=8, help=f"squares of {SIDE} pixels a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="at its highest")
    parser.add_argument("--channels", type=int, nargs="+", default=[*Recipe.channels], help="of the levels")
    parser.add_argument("--bfloat16", action="store_true", help="multiply in it: faster where the processor can")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")


def run(options: argparse.Namespace) -> int:
    """Train, or go on where a run with the same arguments was stopped; prints what it measured."""
    torch.set_num_threads(options.threads)
    schedule = Schedule(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        averaging=0.999,
    )
    recipe = Recipe(schedule=schedule, channels=tuple(options.channels), bfloat16=options.bfloat16, seed=options.seed)
    photographs = [datasets.load(reference) for reference in options.photographs]
    model = fit_diffusion(
        photographs,
        recipe,
        checkpoint=options.out / "unfinished.safetensors",
        progress=lambda first: Progress(label="steps", total=schedule.steps, start=first),
    )
    report = {
        "recipe": asdict(recipe),
        "version": VERSION,
        "photographs": {"count": sum(map(len, photographs)), "digest": [data.digest for data in photographs]},
        "psnr": denoising_psnr(model, [datasets.load(reference) for reference in options.unseen]),
    }
    write_model(model, options.out, facts={"training": json.dumps(report)})
    (options.out / "unfinished.safetensors").unlink(missing_ok=True)
    print(json.dumps(report, indent=1))
    return 0


def fit_diffusion(
    photographs: Sequence[Dataset],
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> NoiseModel:
    """A noise model fitted to random squares of photographs; equal recipes give equal weights on one machine.

    The mean squared error of ε is lessened by Adam; what is returned is the running average of the weights. One
    forward and one backward a square and step. All photographs are kept in memory.

    Args:
        photographs: every image at least `SIDE` pixels high and wide.
        recipe: what decides the weights.
        checkpoint: where the unfinished training is kept, and found again.
        progress: makes the reporter, given the steps that are done already.

    Raises:
        ConfigurationError: no photographs, or one too small. CapabilityError: no diffusers.
    """
    schedule, pixels = recipe.schedule, _pixels(photographs)
    levels = NoiseSchedule(linear_betas())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = NoiseModel(small_network(recipe.channels), levels)
    weights = dict(model.network.named_parameters())
    average = {name: value.detach().clone() for name, value in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=schedule.learning_rate)
    name = Key(
        {
            "recipe": json.loads(json.dumps(asdict(recipe))),
            "version": VERSION,
            "photographs": [data.digest for data in photographs],
        }
    ).digest
    saved = None if checkpoint is None else Checkpoint(path=checkpoint, training=name)
    found = saved.load() if saved else None
    first = 0
    if found is not None:
        first, state = found
        _restore(state, weights, average, optimizer, first)
    reporter = progress(first) if progress else None
    running = 0.0
    for step in range(first, schedule.steps):
        noisy, timesteps, noise = _batch(pixels, levels, recipe, step)
        optimizer.param_groups[0]["lr"] = learning_rate(schedule, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            predicted = model(noisy, timesteps)
        loss = F.mse_loss(predicted.float(), noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        # Early weights are poor: the average forgets them faster.
        kept = min(schedule.averaging, (step + 1) / (step + 11))
        torch._foreach_lerp_([*average.values()], [value.detach() for value in weights.values()], 1 - kept)
        running = 0.98 * running + 0.02 * float(loss.detach())
        if reporter is not None:
            reporter.at(step + 1, f"loss {running / (1 - 0.98 ** (step - first + 1)):.4f}")
        if saved is not None:
            saved.offer(step + 1, lambda: _state(weights, average, optimizer))
    model.network.load_state_dict(average)
    return model.eval().requires_grad_(False)


def learning_rate(schedule: Schedule, step: int) -> float:
    """Up linearly over the first twentieth of the steps, then along a cosine to zero."""
    rising = WARM_UP * schedule.steps
    if step < rising:
        return schedule.learning_rate * (step + 1) / (rising + 1)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / (schedule.steps - rising)))


def denoising_psnr(model: NoiseModel, photographs: Sequence[Dataset], *, seed: int = 0) -> dict[str, float]:
    """Mean PSNR in dB of photographs denoised at one stroke, by the noise's deviation in units of 255.

    The noisy image is not rounded nor clamped, as is usual; the denoised one is clamped.
    """
    found: dict[str, float] = {}
    for sigma in JUDGED_SIGMAS if photographs else ():
        reached = []
        for data in photographs:
            for sample in data:
                clean = sample.image[None]
                noise = Streams(f"denoising/{seed}", [sample.id]).normal(*clean.shape[1:])
                with torch.no_grad():
                    restored = model.denoise(clean + sigma * noise, sigma).clamp(0, 1)
                reached.append(float(psnr(clean, restored)))
        found[f"{255 * sigma:.0f}"] = round(float(np.mean(reached)), 3)
    return found


def _pixels(photographs: Sequence[Dataset]) -> list[np.ndarray]:
    pixels = [data.pixels(index) for data in photographs for index in range(len(data))]
    if not pixels:
        raise ConfigurationError("there is no photograph to train on", fix="name a data set with --photographs")
    for data in photographs:
        for index, item in enumerate(data.items):
            if min(data.pixels(index).shape[:2]) < SIDE:
                raise ConfigurationError(
                    f"the photograph is smaller than {SIDE} × {SIDE} pixels",
                    where=Where(dataset=data.name, image=item.id),
                    fix="leave it out",
                )
    return pixels


def _batch(
    pixels: Sequence[np.ndarray], levels: NoiseSchedule, recipe: Recipe, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy squares, their timesteps and their noise. Drawn from the step's number: a resumed run needs no state."""
    draw, size = np.random.default_rng([recipe.seed, step]), recipe.schedule.batch
    squares = []
    for number in draw.integers(len(pixels), size=size):
        top, left = (int(draw.integers(side - SIDE + 1)) for side in pixels[number].shape[:2])
        square = pixels[number][top : top + SIDE, left : left + SIDE]
        if draw.random() < 0.5:
            square = square[:, ::-1]
        if draw.random() < 0.5:
            square = square.transpose(1, 0, 2)
        squares.append(square)
    clean = 2 * from_uint8(np.stack(squares)) - 1
    least, most = np.log(USUAL_SIGMAS)
    usual = np.exp(draw.uniform(least, most, size=size))
    steps = [
        int(draw.integers(len(levels))) if draw.random() < UNUSUAL else levels.timestep(float(sigma)) for sigma in usual
    ]
    noise = torch.from_numpy(draw.standard_normal(clean.shape, dtype=np.float32))
    kept = torch.tensor([levels.retained[timestep] for timestep in steps], dtype=torch.float32)[:, None, None, None]
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise, torch.tensor(steps), noise


def _state(
    weights: dict[str, nn.Parameter], average: dict[str, Tensor], optimizer: torch.optim.Adam
) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        moments = optimizer.state[value]
        state |= {
            f"weights.{name}": value,
            f"average.{name}": average[name],
            f"first.{name}": moments["exp_avg"],
            f"second.{name}": moments["exp_avg_sq"],
        }
    return state


def _restore(
    state: dict[str, Tensor],
    weights: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Adam,
    steps: int,
) -> None:
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(state[f"weights.{name}"])
            average[name].copy_(state[f"average.{name}"])
            optimizer.state[value] = {
                "step": torch.tensor(float(steps)),
                "exp_avg": torch.empty_like(value).copy_(state[f"first.{name}"]),
                "exp_avg_sq": torch.empty_like(value).copy_(state[f"second.{name}"]),
            }
