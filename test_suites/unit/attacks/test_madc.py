"""MADC: the projection in closed form, the sphere it keeps to, and the published sign."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.madc import MADC, orthogonal
from iqa_robustness.errors import ConfigurationError


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-8, 1e-3, 1.0]))
@settings(deadline=None, max_examples=30)
def test_what_is_left_is_orthogonal_to_each_images_own_change(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(3, 3, 5, 7, generator=generator) * scale
    changes = torch.randn(3, 3, 5, 7, generator=generator) * 0.01
    left = orthogonal(gradients, changes)
    for row in range(3):
        g, d, rest = (t[row].flatten().double() for t in (gradients, changes, left))
        assert float((rest @ d).abs()) <= 1e-6 * float(g.norm() * d.norm())
        # Gram and Schmidt, by least squares.
        share = torch.linalg.lstsq(d[:, None], g[:, None]).solution[0, 0]
        assert torch.allclose(rest, g - share * d, atol=1e-5 * scale)
    assert torch.equal(orthogonal(gradients[1:2], changes[1:2]), left[1:2])


def test_without_a_change_the_gradient_stays_whole() -> None:
    gradients = torch.randn(2, 3, 4, 4)
    assert torch.equal(orthogonal(gradients, torch.zeros_like(gradients)), gradients)


def test_on_a_linear_metric_the_first_step_is_the_optimum_on_the_sphere(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(3, 16, 20), toys.gaussian(16, 20).sign() * 0.01
    attack = MADC(epsilon=8 / 255)
    result = attack(toys.Linear(weights), clean)
    # The gradient is parallel to the change: nothing orthogonal is left, and nothing moves on.
    assert torch.equal(((result.images - clean) * 255).round(), (4 * weights.sign()).expand_as(clean))


def test_every_iterate_lies_on_the_sphere_unless_the_cube_cuts_it(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 20)
    weights, centre = toys.gaussian(16, 20).abs() + 0.005, clean.mean(dim=0) + toys.gaussian(16, 20, seed=5)
    metric = toys.Quadratic(weights, centre)
    attack = MADC(epsilon=8 / 255, level=0.3)
    attack(metric, clean, micro_batch=2)
    seen = [batch for batch, mode in zip(metric.batches, metric.modes, strict=True) if mode == "gradient"]
    assert len(seen) == 8
    assert torch.equal(seen[0], clean)
    for iterate in seen[1:]:
        change = iterate - clean
        size = change.square().mean(dim=(1, 2, 3)).sqrt()
        cut = change.abs().amax(dim=(1, 2, 3)) >= attack.epsilon - 1e-7
        assert (size <= 0.3 * attack.epsilon * (1 + 1e-5)).all()
        assert (cut | (size >= 0.3 * attack.epsilon * (1 - 1e-4))).all()


def test_climbing_along_the_sphere_gains_where_the_score_bends(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 16, 20)
    bent = toys.Quadratic(toys.gaussian(16, 20).abs() + 0.001, clean[0] + 0.05 * toys.gaussian(16, 20).sign())
    once, along = (MADC(steps=steps, epsilon=8 / 255)(bent, clean[:1]) for steps in (1, 8))
    assert float(along.values) > float(once.values)


def test_paper_takes_the_sign_after_the_projection(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(2, 16, 20), toys.gaussian(16, 20)
    current = clean.clone()
    for _ in range(8):
        gradient, change = weights.expand_as(clean).double(), (current - clean).double()
        share = (gradient * change).sum(dim=(1, 2, 3)) / change.square().sum(dim=(1, 2, 3)).clamp(min=1e-300)
        direction = gradient - share[:, None, None, None] * change
        current = current + 0.5 / 255 * direction.sign().float()
    result = MADC(paper=True)(toys.Linear(weights), clean)
    differing = ((result.images - current) * 255).abs() > 0.5 + 1e-3
    assert float(differing.float().mean()) < 0.01  # where the projection leaves almost nothing, its sign is rounding
    assert float((result.images - clean).abs().max()) <= 4 / 255 + 1e-6


@pytest.mark.parametrize("strength", ["weak", "medium", "strong"])
def test_the_cost_is_eight_gradients_and_the_check(toys: SimpleNamespace, strength: str) -> None:
    result = attacks.create("madc", strength=strength)(toys.Linear(toys.gaussian()), toys.pictures(2))
    assert result.backwards.tolist() == [8, 8]
    assert set(result.forwards.tolist()) <= {9, 10}


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"level": 0.0}, {"stride": -1.0}, {"epsilon": 4.0}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        MADC(**parameters)
