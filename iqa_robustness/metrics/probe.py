"""What can be measured of a metric before it is attacked: fingerprint, batch invariance, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.errors import BatchDependenceError, Where
from iqa_robustness.images import from_uint8, quantize
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

COUNT, HEIGHT, WIDTH = 8, 224, 256
# Scores of one image beside different companions may differ by this share of diam (float32 noise, not dependence).
BATCH_TOLERANCE = 1e-5
# Fingerprints are rounded to this share of diam: far above float noise between machines, far below any real change.
FINGERPRINT_STEP = 1e-4


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was measured on the fixed images.

    fingerprint: their scores in steps of `FINGERPRINT_STEP` × diam above the low end of the range.
    differentiable: every image's gradient is finite, and that of at least one is not zero.
    """

    fingerprint: tuple[int, ...]
    differentiable: bool


def probe_images(device: torch.device | str = "cpu") -> Tensor:
    """Eight fixed images, (8, 3, 224, 256) on the grid k/255: gradients, checks and noise, made with integers alone."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    noise = np.random.RandomState(20240802).randint(0, 256, (COUNT, HEIGHT, WIDTH, 3))
    pixels = np.empty((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    for number in range(COUNT):
        cell = 4 << (number % 4)
        checks = ((rows // cell + columns // cell) % 2) * 96
        ramp = (rows * (number + 1) + columns * (COUNT - number)) % 160
        share = number * 32
        for channel in range(3):
            structure = (checks + ramp) * (3 - abs(channel - number % 3)) // 3
            pixels[number, :, :, channel] = (structure * (256 - share) + noise[number, :, :, channel] * share) // 256
    return from_uint8(pixels).to(device)


def probe_references(images: Tensor) -> Tensor:
    """What full-reference metrics compare probe images with: half of their contrast, on the grid k/255."""
    return quantize((images + 0.5) / 2)


def probe(metric: Metric, *, device: torch.device | str = "cpu") -> Probe:
    """Measure a metric on the fixed images. Two forwards and (white-box) one backward an image.

    Raises:
        BatchDependenceError: an image's score changes with its companions by more than `BATCH_TOLERANCE` × diam.
        ScoreShapeError, NonFiniteScoreError: from scoring.
    """
    images, names = probe_images(device), [f"probe-{number}" for number in range(COUNT)]
    scorer = Scorer(metric=metric, micro_batch=COUNT // 2)
    references = probe_references(images)
    together = scorer.scores(images, streams=Streams("probe", names, device=device), references=references)
    # Every other image: each micro-batch of the second run mixes images of both micro-batches of the first.
    order = torch.tensor([*range(0, COUNT, 2), *range(1, COUNT, 2)], device=images.device)
    shuffled = Streams("probe", [names[row] for row in order], device=device)
    apart = torch.empty_like(together)
    apart[order] = scorer.scores(images[order], streams=shuffled, references=references[order])
    _check_companions(metric, together, apart, names)
    differentiable = False
    if metric.spec.access == "white-box":
        streams = Streams("probe", names, device=device)
        _, gradients = scorer.scores_and_gradients(images, streams=streams, references=references)
        differentiable = bool(torch.isfinite(gradients).all()) and bool(gradients.any())
    steps = (together.double().cpu() - metric.spec.score_range[0]) / (metric.spec.diam * FINGERPRINT_STEP)
    return Probe(fingerprint=tuple(int(step) for step in steps.round()), differentiable=differentiable)


def _check_companions(metric: Metric, together: Tensor, apart: Tensor, names: list[str]) -> None:
    difference = float((together - apart).abs().max()) / metric.spec.diam
    if difference > BATCH_TOLERANCE:
        worst = int((together - apart).abs().argmax())
        raise BatchDependenceError(
            f"an image's score depends on its batch: {float(together[worst]):.6g} beside some images, "
            f"{float(apart[worst]):.6g} beside others ({difference:.2g} of the score range, "
            f"{BATCH_TOLERANCE:g} allowed)",
            where=Where(metric=metric.spec.name, image=names[worst]),
            fix="call eval(); replace batch statistics and batch means by per-image ones",
        )
