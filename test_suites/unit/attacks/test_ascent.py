"""The loop of gradient climbers, and the scale of a direction."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.ascent import climb, inner_products, normalised
from iqa_robustness.attacks.objectives import BudgetExhausted, Towards


def test_every_image_takes_every_step_and_moves_by_what_it_is_told(toys: SimpleNamespace) -> None:
    clean, weights = toys.pictures(3), toys.gaussian()
    objective = toys.objective(toys.Linear(weights), clean)
    seen: list[list[int]] = []

    def move(current: torch.Tensor, gradients: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.tolist())
        assert torch.allclose(gradients, weights.expand_as(gradients))
        return current + 0.001

    last = climb(objective, clean, steps=4, move=move)
    assert seen == [[0, 1, 2]] * 4
    assert torch.allclose(last, clean + 0.004)
    assert objective.forwards.tolist() == objective.backwards.tolist() == [4, 4, 4]
    assert objective.clean_values is not None  # the first step saw the clean images: no extra forward for them


def test_an_image_that_reached_its_goal_stops_and_pays_no_more(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    metric = toys.Broken(lambda images: images.mean(dim=(1, 2, 3)))
    goal = Towards(score=float(clean[1].mean()) + 0.02, tolerance=0.004)
    objective = toys.objective(metric, clean, goal=goal, epsilon=0.2)
    before = clean.clone()
    last = climb(objective, clean, steps=6, move=lambda current, gradients, rows: current + 0.01)
    assert objective.backwards.tolist()[1] == 3  # at 0, 0.01 and 0.02
    assert torch.allclose(last[1], clean[1] + 0.02)
    assert torch.equal(clean, before)
    assert max(objective.backwards.tolist()) == 6


def test_with_everybody_at_the_goal_nothing_moves(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Broken(lambda images: 0 * images.sum(dim=(1, 2, 3)) + 0.5)
    objective = toys.objective(metric, clean, goal=Towards(score=0.5))
    last = climb(objective, clean, steps=5, move=lambda *_: pytest.fail("nobody was to move"))
    assert torch.equal(last, clean)
    assert objective.forwards.tolist() == [1, 1]


def test_a_limit_of_forwards_ends_it_by_the_exception_that_the_template_knows(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Linear(toys.gaussian()), clean, max_forwards=3)
    with pytest.raises(BudgetExhausted):
        climb(objective, clean, steps=9, move=lambda current, gradients, rows: current)
    assert objective.forwards.tolist() == [3, 3]


def test_no_images_need_no_step(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)[:0]
    objective = toys.objective(toys.Linear(toys.gaussian()), clean)
    assert climb(objective, clean, steps=3, move=lambda *_: pytest.fail("there is nobody")).shape == clean.shape


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-12, 1e-6, 1.0, 1e6]))
@settings(deadline=None, max_examples=30)
def test_products_and_scale_against_numpy(seed: int, scale: float) -> None:
    first, second = (torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(seed + k)) for k in (0, 1))
    expected = (first.double().numpy() * second.double().numpy()).reshape(3, -1).sum(axis=1)
    assert np.allclose(inner_products(first, second).flatten().numpy(), expected, rtol=1e-12)
    unit = normalised(first * scale)
    assert unit.dtype == torch.float32
    assert unit.square().mean(dim=(1, 2, 3)).numpy() == pytest.approx(np.ones(3), rel=1e-5)
    assert torch.allclose(unit * first.square().mean(dim=(1, 2, 3), keepdim=True).sqrt(), first, rtol=1e-4)


def test_a_direction_of_zeros_stays_zero_and_the_last_bit_does_not_depend_on_companions() -> None:
    directions = torch.randn(4, 3, 33, 47, generator=torch.Generator().manual_seed(1))
    directions[2] = 0
    unit = normalised(directions)
    assert not unit[2].any()
    for row in (0, 1, 3):
        assert torch.equal(unit[row : row + 1], normalised(directions[row : row + 1]))
    assert normalised(directions[:0]).shape == (0, 3, 33, 47)
