"""White-box attacks against optima known in closed form: which share of the largest possible gain each one reaches.

Three toy metrics of 32 × 32 pixels, 8/255 or 30 dB. The optima are of real numbers, the results of 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from iqa_robustness import attacks

EPSILON, LEAST_PSNR, SIDE = 8 / 255, 30.0, 32
# The least share of each attack's gain in the largest one: what was measured, cut off after the second digit or, where
# only rounding is missing, at 0.99. The linear metric and the blur energy have their optimum in a corner of the cube,
# which every step along the signs leads to. The quadratic's top lies 8 levels away in the mean, inside the cube for
# half the pixels: one step overshoots it, momentum swings around it, a fixed step ends within a step of it.
LINF = {
    "fgsm": {"linear": 0.99, "quadratic": 0.81, "blur": 0.99},
    "ifgsm": {"linear": 0.99, "quadratic": 0.99, "blur": 0.99},
    "mi-fgsm": {"linear": 0.99, "quadratic": 0.97, "blur": 0.99},
    "ami-fgsm": {"linear": 0.99, "quadratic": 0.96, "blur": 0.99},
    "pgd": {"linear": 0.99, "quadratic": 0.98, "blur": 0.99},
    "apgd": {"linear": 0.99, "quadratic": 0.99, "blur": 0.99},
}
L2 = {
    "apgd-l2": {"linear": 0.99, "quadratic": 0.99, "blur": 0.99},
    "cw": {"linear": 0.99, "quadratic": 0.99, "blur": 0.99},
}
TOYS = ("linear", "quadratic", "blur")


def nearby(toys: SimpleNamespace, count: int, side: int) -> Tensor:
    """Pictures that differ from each other by up to 6 levels."""
    base = toys.pictures(1, side, side, low=90, high=166)
    return torch.cat(
        [((base + toys.pictures(1, side, side, seed=n, low=0, high=7)) * 255).round() / 255 for n in range(count)]
    )


def made(toys: SimpleNamespace, kind: str, clean: Tensor) -> torch.nn.Module:
    side = clean.shape[-1]
    if kind == "linear":
        return toys.Linear(toys.gaussian(side, side))
    if kind == "quadratic":
        top = clean.mean(dim=0) + toys.gaussian(side, side, seed=4, scale=10 / 255)
        return toys.Quadratic(toys.gaussian(side, side).abs() + 0.002, top)
    return toys.BlurEnergy(toys.gaussian(side, side, seed=6).sign())


def shares(metric: torch.nn.Module, name: str, clean: Tensor, largest: Tensor) -> list[float]:
    result = attacks.create(name, strength="strong")(metric, clean)
    return ((result.values - result.clean_values).double() / largest).tolist()


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("name", LINF)
def test_the_share_of_the_optimum_in_the_cube(toys: SimpleNamespace, name: str, kind: str) -> None:
    clean = nearby(toys, 3, SIDE)
    metric = made(toys, kind, clean)
    reached = shares(metric, name, clean, metric.largest_gain_linf(clean, EPSILON))
    assert LINF[name][kind] <= min(reached)
    assert max(reached) <= 1 + 1e-4


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("name", L2)
def test_the_share_of_the_optimum_in_the_ball(toys: SimpleNamespace, name: str, kind: str) -> None:
    clean = nearby(toys, 3, SIDE)
    metric = made(toys, kind, clean)
    radius = 10 ** (-LEAST_PSNR / 20) * math.sqrt(3 * SIDE * SIDE)
    reached = shares(metric, name, clean, metric.largest_gain_l2(clean, radius))
    assert L2[name][kind] <= min(reached)
    assert max(reached) <= 1 + 1e-4


# --- the closed forms themselves ------------------------------------------------------------------------------------


def searched(metric: torch.nn.Module, clean: Tensor, options: dict) -> float:
    """The largest gain that scipy finds from several starts, in float64; one image."""
    metric.double()
    image = clean.double()

    def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(change).view_as(image).requires_grad_(True)
        value = -metric(image + leaf).sum()
        (slope,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), slope.numpy().ravel()

    random = np.random.RandomState(0)
    starts = [random.uniform(-0.01, 0.01, image.numel()) for _ in range(3)]
    found = min(minimize(loss, start, jac=True, tol=1e-12, **options).fun for start in starts)
    return -found - float(metric(image))


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_scipy_finds_the_same_optimum(toys: SimpleNamespace, kind: str, norm: str) -> None:
    clean = nearby(toys, 1, 6)
    metric = made(toys, kind, clean)
    size = EPSILON if norm == "linf" else 0.2
    closed: Callable[[Tensor, float], Tensor] = getattr(metric, f"largest_gain_{norm}")
    expected = float(closed(clean, size))
    ball = {"type": "ineq", "fun": lambda d: size**2 - d @ d, "jac": lambda d: -2 * d}
    options = (
        {"method": "L-BFGS-B", "bounds": [(-size, size)] * clean.numel()}
        if norm == "linf"
        else {"method": "SLSQP", "constraints": [ball], "options": {"maxiter": 500}}
    )
    assert searched(metric, clean, options) == pytest.approx(expected, rel=1e-4)
