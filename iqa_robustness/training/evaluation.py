"""What a fitted metric is worth on photographs that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from iqa_robustness.images import from_uint8
from iqa_robustness.training.distortions import Damage, damage
from iqa_robustness.training.mos_data import Photograph

# Damage that nobody overlooks: a metric that prefers one of these to the photograph itself is wrong.
# JPEG's parameter is 100 / quality.
OBVIOUS: Mapping[str, Damage] = MappingProxyType(
    {
        "blur of 2 pixels": damage("gaussian-blur", 2.0),
        "noise of 25 / 255": damage("white-noise", 25.0),
        "JPEG of quality 10": damage("jpeg", 100 / 10),
    }
)
# The score range leaves out this share of the training images at either end.
_TAIL = 0.005


def order_kept(network: nn.Module, photographs: Sequence[Photograph], *, seed: int) -> dict[str, float]:
    """By name of the damage in `OBVIOUS`, the share of photographs that score higher undamaged. Four forwards each."""
    kept = dict.fromkeys(OBVIOUS, 0)
    for photograph in photographs:
        draw = np.random.default_rng([seed, *photograph.name.encode()])
        versions = [photograph.pixels, *(spoil(photograph.pixels, draw) for spoil in OBVIOUS.values())]
        with torch.inference_mode():
            clean, *damaged = network(from_uint8(np.stack(versions))).tolist()
        for name, score in zip(OBVIOUS, damaged, strict=True):
            kept[name] += clean > score
    return {name: count / len(photographs) for name, count in kept.items()}


def score_range(scores: Tensor) -> tuple[float, float]:
    """(low, high) that holds all but the outermost scores of the training images, widened to a tenth of a unit."""
    low, high = np.quantile(scores.double().numpy(), [_TAIL, 1 - _TAIL])
    return math.floor(low * 10) / 10, math.ceil(high * 10) / 10
