"""AdvCF: a colour curve for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from iqa_robustness.attacks.ascent import normalised
from iqa_robustness.attacks.transformation import Render, Transformation
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.streams import Streams

_LEVELS = 256
_PAPER_WEIGHT = 0.5


@dataclass(frozen=True, kw_only=True)
class AdvCF(Transformation):
    """A rising, piecewise linear curve from 0 to 1 for each channel: a colour filter, the same for all pixels.

    Source: Zhao et al., BMVC 2020 and TIFS 2023 (adversarial colour filter). They climb in the rises of the pieces, cut
    off at 0 and divided by their sum, under a penalty on their squared differences; `paper=True` does so with the
    benchmark's weight, 0.5, and rate, 0.001. Here the rises are a softmax, which needs neither, and the budget bounds
    the change.
    Images: (N, 3, H, W) float32 RGB in [0, 1], H and W at least 7.
    Budget: SSIM of at least `least_ssim` to the clean image, after 8-bit rounding; the published code has none.
    Cost: `steps` forwards and backwards an image, and one or two forwards to score the rounded result.
    Raises: ConfigurationError for fewer than one step, fewer than two pieces or a rate that is not positive.

    Args:
        pieces: of each curve.
        rate: Adam's, in logarithms of a piece's rise.
    """

    name: ClassVar[str] = "advcf"

    pieces: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces < 2:
            raise ConfigurationError(f"advcf needs pieces >= 2, got {self.pieces}")

    def start(self, images: Tensor, streams: Streams) -> tuple[Tensor, Sequence[Render]]:
        """Straight curves."""
        del streams  # the attack is deterministic
        levels = (images * (_LEVELS - 1)).round().long()
        rises = clipped_rises if self.paper else softmax_rises
        return images.new_zeros(len(images), 3, self.pieces), [partial(_filtered, rises, image) for image in levels]

    def slope(self, pulled: Tensor, parameters: Tensor) -> Tensor:
        """The pulled-back gradient; with `paper=True` less the penalty's."""
        if not self.paper:
            return normalised(pulled)
        with torch.enable_grad():
            leaf = parameters.detach().clone().requires_grad_(True)
            penalty = (clipped_rises(leaf) - 1 / self.pieces).square().sum()
            (bent,) = torch.autograd.grad(penalty, leaf)
        return pulled - _PAPER_WEIGHT * bent


def softmax_rises(parameters: Tensor) -> Tensor:
    """(…, K) logarithms, up to a constant, to the share of each piece in the whole rise."""
    return parameters.softmax(dim=-1)


def clipped_rises(parameters: Tensor) -> Tensor:
    """(…, K) differences from 1/K to shares, as published."""
    rises = (parameters + 1 / parameters.shape[-1]).clamp(min=0)
    return rises / (rises.sum(dim=-1, keepdim=True) + 1e-30)


def curves(rises: Tensor) -> Tensor:
    """(…, K) shares of the whole rise to (…, 256) outputs for the inputs k/255."""
    pieces = rises.shape[-1]
    inputs = torch.arange(_LEVELS, device=rises.device, dtype=rises.dtype) / (_LEVELS - 1)
    starts = torch.arange(pieces, device=rises.device, dtype=rises.dtype) / pieces
    risen = ((inputs[None] - starts[:, None]) * pieces).clamp(0, 1)
    return (rises[..., None] * risen).sum(dim=-2)


def _filtered(rises: Render, levels: Tensor, parameters: Tensor) -> Tensor:
    """(3, H, W) int64 levels through each channel's curve, (1, 3, H, W)."""
    tables = curves(rises(parameters))
    # A look-up as an embedding: on a GPU its gradient is summed in a fixed order, that of an indexed tensor is not.
    offsets = torch.arange(3, device=levels.device).view(3, 1, 1) * _LEVELS
    return F.embedding(levels + offsets, tables.reshape(-1, 1)).squeeze(-1)[None].clamp(0, 1)
