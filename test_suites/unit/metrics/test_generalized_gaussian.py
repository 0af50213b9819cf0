"""Fits of generalised Gaussians: against the published search in NumPy, against samples of known shape, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gamma
from scipy.stats import gennorm
from torch import Tensor

from iqa_robustness.metrics.generalized_gaussian import GeneralizedGaussian, mean_factor, spread

GRID = np.linspace(0.2, 10, 9801)
FIT = GeneralizedGaussian()


def sample(shape: float, *, count: int = 20_000, seed: int = 0, skew: float = 1.0) -> np.ndarray:
    values = gennorm.rvs(shape, size=count, random_state=np.random.default_rng(seed))
    return np.where(values < 0, values * skew, values)


def searched_symmetric(values: np.ndarray) -> tuple[float, float]:
    energy = np.mean(values**2)
    table = gamma(1 / GRID) * gamma(3 / GRID) / gamma(2 / GRID) ** 2
    return GRID[np.argmin(np.abs(energy / np.mean(np.abs(values)) ** 2 - table))], energy


def searched_asymmetric(values: np.ndarray) -> tuple[float, float, float]:
    left, right = (np.sqrt(np.mean(part**2)) for part in (values[values < 0], values[values > 0]))
    quotient = left / right
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    ratio *= (quotient**3 + 1) * (quotient + 1) / (quotient**2 + 1) ** 2
    table = gamma(2 / GRID) ** 2 / (gamma(1 / GRID) * gamma(3 / GRID))
    return GRID[np.argmin((table - ratio) ** 2)], left, right


def gradient_of(value: Tensor, values: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value.sum(), values)
    return gradient


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 6.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_published_search(shape: float, seed: int) -> None:
    values = sample(shape, count=3000, seed=seed, skew=0.7)
    exponent, energy = FIT.symmetric(torch.from_numpy(values))
    assert (float(exponent), float(energy)) == pytest.approx(searched_symmetric(values), abs=1e-9)
    fit = FIT.asymmetric(torch.from_numpy(values))
    assert [float(part) for part in (fit.shape, fit.left, fit.right)] == pytest.approx(
        searched_asymmetric(values), abs=1e-9
    )
    assert bool(fit.defined)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_finds_the_shape_of_large_samples(shape: float) -> None:
    values = torch.from_numpy(sample(shape, count=400_000))
    exponent, energy = FIT.symmetric(values)
    assert float(exponent) == pytest.approx(shape, rel=0.03)
    assert float(energy) == pytest.approx(gennorm.var(shape), rel=0.03)
    assert float(FIT.asymmetric(values * 0.01).shape) == pytest.approx(shape, rel=0.03)


def test_the_two_sides_are_told_apart() -> None:
    """Each side has the share of values that makes the density meet itself at zero: here three quarters."""
    size = np.abs(sample(2.0, count=400_000))
    left = np.random.default_rng(1).random(len(size)) < 0.75
    fit = FIT.asymmetric(torch.from_numpy(np.where(left, -3 * size, size)))
    assert float(fit.left) == pytest.approx(3 * gennorm.std(2.0), rel=0.01)
    assert float(fit.right) == pytest.approx(gennorm.std(2.0), rel=0.01)
    assert float(fit.shape) == pytest.approx(2.0, rel=0.03)


@given(shape=st.floats(0.25, 9.5), scale=st.floats(0.01, 100))
@settings(max_examples=30)
def test_the_exponent_does_not_depend_on_the_scale(shape: float, scale: float) -> None:
    values = torch.from_numpy(sample(shape, count=500))
    assert float(FIT.symmetric(values)[0]) == pytest.approx(float(FIT.symmetric(values * scale)[0]), abs=1.1e-3)
    plain, scaled = FIT.asymmetric(values), FIT.asymmetric(values * scale)
    assert float(plain.shape) == pytest.approx(float(scaled.shape), abs=1.1e-3)
    assert float(scaled.left) == pytest.approx(scale * float(plain.left), rel=1e-9)


def test_rows_are_fitted_apart() -> None:
    rows = torch.from_numpy(np.stack([sample(shape, count=400, seed=3) for shape in (0.5, 1.0, 3.0, 8.0)]))
    together = FIT.asymmetric(rows.view(2, 2, 400))
    assert together.shape.shape == (2, 2)
    apart = [FIT.asymmetric(row).shape for row in rows]
    assert together.shape.flatten().equal(torch.stack(apart))


@pytest.mark.parametrize("shape", [0.6, 0.8, 1.5, 3.0])
@pytest.mark.parametrize("side", ["symmetric", "asymmetric"])
def test_the_gradient_is_that_of_the_curve_the_grid_samples(shape: float, side: str) -> None:
    """Over many steps of the grid, the staircase rises by what the gradient promises."""

    def exponent(at: Tensor) -> Tensor:
        return FIT.symmetric(at)[0] if side == "symmetric" else FIT.asymmetric(at).shape

    values = torch.from_numpy(sample(shape, count=2000, skew=0.6))
    direction = values.sign() * values.abs().sqrt()
    length = 0.1
    middle = values.clone().requires_grad_()
    slope = float((gradient_of(exponent(middle), middle) * direction).sum())
    risen = float(exponent(values + length * direction) - exponent(values - length * direction)) / (2 * length)
    assert abs(slope) > 0.05
    assert slope == pytest.approx(risen, rel=0.05)


@pytest.mark.parametrize(("part", "degree"), [("shape", 0), ("left", 1), ("right", 1), ("exponent", 0), ("energy", 2)])
def test_gradients_obey_scaling(part: str, degree: int) -> None:
    """The exponent is of degree 0 in the values, the deviations of degree 1, the energy of degree 2 (Euler)."""
    values = torch.from_numpy(sample(0.9, count=1000, skew=1.7)).requires_grad_()
    fit = FIT.asymmetric(values)
    exponent, energy = FIT.symmetric(values)
    found = {"shape": fit.shape, "left": fit.left, "right": fit.right, "exponent": exponent, "energy": energy}[part]
    along = float((gradient_of(found, values) * values.detach()).sum())
    assert along == pytest.approx(degree * found.detach().item(), rel=1e-6, abs=1e-6)


def test_values_beyond_the_grid_get_its_end_and_no_gradient() -> None:
    signs = torch.tensor([1.0, -1.0] * 50, dtype=torch.float64, requires_grad=True)
    exponent, _ = FIT.symmetric(signs)
    assert exponent.tolist() == pytest.approx(10.0)
    assert not gradient_of(exponent, signs).any()
    spikes = torch.zeros(1000, dtype=torch.float64)
    spikes[:2] = torch.tensor([5.0, -5.0])
    spikes.requires_grad_()
    fit = FIT.asymmetric(spikes)
    assert fit.shape.tolist() == pytest.approx(0.2)
    assert not gradient_of(fit.shape, spikes).any()


@pytest.mark.parametrize(
    ("values", "left", "right"),
    [
        pytest.param([0.0] * 9, 0, 0, id="nothing"),
        pytest.param([0.0, 2.0, 2.0], 0, 2, id="positive only"),
        pytest.param([-3.0, 0.0, 0.0], 3, 0, id="negative only"),
        pytest.param([1e-14, -1e-14, 0.0], 0, 0, id="rounding errors"),
    ],
)
def test_degenerate_values_have_finite_fits_and_gradients(values: list[float], left: float, right: float) -> None:
    tensor = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    fit = FIT.asymmetric(tensor)
    exponent, energy = FIT.symmetric(tensor)
    assert fit.left.tolist() == pytest.approx(left, abs=1e-9)
    assert fit.right.tolist() == pytest.approx(right, abs=1e-9)
    assert bool(fit.defined) == (min(values) < 0 < max(values))
    if not any(abs(value) > 1e-9 for value in values):
        assert exponent.tolist() == fit.shape.tolist() == pytest.approx(0.2)
    total = fit.shape + fit.left + fit.right + exponent + energy + spread(fit.shape) + mean_factor(fit.shape)
    assert bool(torch.isfinite(total))
    gradient = gradient_of(total, tensor)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) < 1e3


@given(st.floats(0.2, 10))
def test_factors_are_quotients_of_gamma_functions(shape: float) -> None:
    exponent = torch.tensor(shape, dtype=torch.float64)
    assert float(spread(exponent)) == pytest.approx(np.sqrt(gamma(1 / shape) / gamma(3 / shape)), rel=1e-9)
    assert float(mean_factor(exponent)) == pytest.approx(gamma(2 / shape) / gamma(1 / shape), rel=1e-9)
