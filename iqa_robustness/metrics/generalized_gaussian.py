"""Moment fits of generalised Gaussians, symmetric and asymmetric, with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# The published search grid: 0.2, 0.201 … 10.
_FIRST, _STEP, _COUNT = 0.2, 0.001, 9801
# Added to mean squares that are divided by: far below what one grey level in one pixel makes.
_NO_ENERGY = 1e-12
# Under roots, so that their gradient at zero is zero and not infinite.
_ROOT_FLOOR = 1e-24


@dataclass(frozen=True)
class AsymmetricFit:
    """An asymmetric generalised Gaussian for each set of values; all fields have one shape.

    shape: the exponent, 0.2 (peaked) to 10 (nearly uniform) in steps of 0.001.
    left: root mean square of the negative values, 0 where there is none.
    right: root mean square of the positive values, 0 where there is none.
    defined: there are negative and positive values; the published code has 0 / 0 otherwise.
    """

    shape: Tensor
    left: Tensor
    right: Tensor
    defined: Tensor


class GeneralizedGaussian(nn.Module):
    """Fits by matching a ratio of moments, as published: the exponent is looked up on a grid of 9,801.

    Forward values are those of the grid. Backward, the staircase counts as the smooth curve it samples (the derivative
    of the inverse function at the grid point); beyond the grid's ends the exponent is constant, its gradient zero.
    How many values are negative or positive counts as a constant, though a step can change it: what a long step does
    to left and right deviations is promised to about a fifth.
    Values that are all zero (a constant patch) get the exponent 0.2, as in the published code, and no NaN elsewhere.

    Source: Sharifi and Leon-Garcia, IEEE CSVT 1995; Lasmar et al., ICIP 2009; the look-up is that of the BRISQUE and
    NIQE releases. Values are float64.
    """

    def __init__(self) -> None:
        super().__init__()
        shapes = _FIRST + _STEP * torch.arange(_COUNT, dtype=torch.float64)
        # (E|x|)² / E x² of the distribution; rises with the exponent.
        ratios = (2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)).exp()
        logarithmic = torch.digamma(1 / shapes) + 3 * torch.digamma(3 / shapes) - 4 * torch.digamma(2 / shapes)
        self.shapes: Tensor
        self.ratios: Tensor
        self.slopes: Tensor
        self.halfway: Tensor
        self.halfway_inverse: Tensor
        self.register_buffer("shapes", shapes, persistent=False)
        self.register_buffer("ratios", ratios, persistent=False)
        self.register_buffer("slopes", shapes.square() / (ratios * logarithmic), persistent=False)
        self.register_buffer("halfway", (ratios[1:] + ratios[:-1]) / 2, persistent=False)
        # The symmetric fit looks for the nearest inverse ratio, which puts the border elsewhere between two points.
        self.register_buffer("halfway_inverse", 2 / (1 / ratios[1:] + 1 / ratios[:-1]), persistent=False)

    def symmetric(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(…, P) to the exponent and the mean square, both (…)."""
        energy = values.square().mean(dim=-1)
        ratio = values.abs().mean(dim=-1).square() / (energy + _NO_ENERGY)
        return self._shape(ratio, self.halfway_inverse), energy

    def asymmetric(self, values: Tensor) -> AsymmetricFit:
        """(…, P) to fits of shape (…)."""
        squares = values.square()
        left, some_left = _mean_where(squares, values < 0)
        right, some_right = _mean_where(squares, values > 0)
        left, right = (left + _ROOT_FLOOR).sqrt(), (right + _ROOT_FLOOR).sqrt()
        energy = squares.mean(dim=-1)
        ratio = values.abs().mean(dim=-1).square() / (energy + _NO_ENERGY)
        skewed = ratio * (left.pow(3) + right.pow(3)) * (left + right) / (left.square() + right.square()).square()
        return AsymmetricFit(self._shape(skewed, self.halfway), left, right, some_left & some_right)

    def _shape(self, ratio: Tensor, halfway: Tensor) -> Tensor:
        index = torch.bucketize(ratio.detach().contiguous(), halfway)
        inside = (ratio >= self.ratios[0]) & (ratio <= self.ratios[-1])
        slope = torch.where(inside, self.slopes[index], 0.0)
        return self.shapes[index] + slope * (ratio - ratio.detach())


def _mean_where(values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the last axis of the chosen values (0 where none is), and whether any is."""
    count = chosen.sum(dim=-1)
    return (values * chosen).sum(dim=-1) / count.clamp(min=1), count > 0


def spread(shape: Tensor) -> Tensor:
    """Γ(1/a) / Γ(3/a) to the half: scale parameter over standard deviation, for an exponent a."""
    return ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()


def mean_factor(shape: Tensor) -> Tensor:
    """Γ(2/a) / Γ(1/a): mean over the difference of the two scale parameters."""
    return (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
