"""Fitting a linear score head to statistics of a frozen network: weighted ridge regression, solved in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from iqa_robustness.images import from_uint8
from iqa_robustness.metrics.score_head import ScoreHead
from iqa_robustness.training.examples import Example

# A statistic that hardly varies would be blown up to unit variance; this share of the mean deviation is the least.
_LEAST_DEVIATION = 1e-3
_BATCH = 8


def features_of(
    network: nn.Module, examples: Iterable[Example], *, done: Callable[[int], None] = lambda _: None
) -> tuple[Tensor, list[Example]]:
    """What the network makes of each example: (N, F) float32, and the examples without their pixels.

    One forward an image, images of one size together; pixels are dropped as soon as they have been seen.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    rows: dict[int, np.ndarray] = {}
    kept: list[Example] = []

    def flush(shape: tuple[int, ...]) -> None:
        numbers, pixels = zip(*waiting.pop(shape), strict=True)
        with torch.inference_mode():
            found = network(from_uint8(np.stack(pixels))).numpy()
        rows.update(zip(numbers, found.copy(), strict=True))
        done(len(rows))

    for number, example in enumerate(examples):
        kept.append(example.without_pixels())
        waiting.setdefault(example.pixels.shape, []).append((number, example.pixels))
        if len(waiting[example.pixels.shape]) == _BATCH:
            flush(example.pixels.shape)
    for shape in [*waiting]:
        flush(shape)
    return torch.from_numpy(np.stack([rows[number] for number in range(len(kept))])), kept


@dataclass(frozen=True)
class LinearHead:
    """score = bias + ((statistics − center) · scale) · slope; every part is float64.

    center, scale, slope: (F,).
    """

    center: Tensor
    scale: Tensor
    slope: Tensor
    bias: float

    def scores(self, features: Tensor) -> Tensor:
        """(N, F) to (N,)."""
        return self.bias + ((features.double() - self.center) * self.scale) @ self.slope

    def module(self) -> ScoreHead:
        """The head as the metric uses it, in float32."""
        head = ScoreHead(len(self.slope))
        head.center.copy_(self.center)
        head.scale.copy_(self.scale)
        with torch.no_grad():
            head.output.weight.copy_(self.slope[None])
            head.output.bias.fill_(self.bias)
        return head


def fit_linear_heads(
    features: Tensor, targets: Tensor, weights: Tensor, *, penalties: Sequence[float]
) -> list[LinearHead]:
    """Weighted ridge regression on standardised statistics, one head for each penalty.

    Args:
        features: (N, F).
        targets: (N,), score units.
        weights: (N,), not negative, sum 1.
        penalties: of the squared slope, in units of the mean squared error; the bias is not penalised.
    """
    values, share = features.double(), weights.double()
    center = share @ values
    deviation = (share @ (values - center) ** 2).sqrt()
    scale = 1 / deviation.clamp_min(_LEAST_DEVIATION * float(deviation.mean()))
    bias = float(share @ targets.double())
    # Rows times the root of their weight turn weighted into ordinary least squares.
    root = share.sqrt()[:, None]
    rows = (values - center) * scale * root
    wanted = (targets.double() - bias) * root[:, 0]
    gram, moment = rows.T @ rows, rows.T @ wanted
    identity = torch.eye(len(gram), dtype=torch.float64)
    slopes = [torch.linalg.solve(gram + penalty * identity, moment) for penalty in penalties]
    return [LinearHead(center=center, scale=scale, slope=slope, bias=bias) for slope in slopes]
