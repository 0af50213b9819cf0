"""Gradients of unfinished images: who has arrived, in 8 bits, costs nothing more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.objectives import LOWER, RAISE, BudgetExhausted, Towards
from iqa_robustness.attacks.unfinished import values_and_gradients

LEVEL = 1 / 255


def brightness(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2, 3))


def first_pixel(images: Tensor) -> Tensor:
    return images[:, 0, 0, 0]


@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_where_more_is_always_wanted_everyone_is_asked(toys: SimpleNamespace, goal: object) -> None:
    clean = toys.pictures(3)
    objective, other = (toys.objective(toys.Linear(toys.gaussian()), clean, goal=goal) for _ in range(2))
    for shift in (0.0, 1.3, 2.6):
        values, gradients = values_and_gradients(objective, clean + shift * LEVEL)
        expected = other.values_and_gradients(clean + shift * LEVEL)
        assert torch.equal(values, expected[0])
        assert torch.equal(gradients, expected[1])
    assert objective.forwards.tolist() == objective.backwards.tolist() == [3, 3, 3]


def test_who_arrives_is_confirmed_once_and_not_asked_again(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3)
    metric = toys.Broken(first_pixel)
    wanted = float(clean[1, 0, 0, 0]) + 2.04 * LEVEL
    assert all(abs(float(clean[row, 0, 0, 0]) - wanted) > 6 * LEVEL for row in (0, 2))
    objective = toys.objective(metric, clean, goal=Towards(score=wanted, tolerance=0.1 * LEVEL))
    costs = []
    for step in range(4):
        values, gradients = values_and_gradients(objective, clean + step * LEVEL)
        costs.append((objective.forwards.tolist(), objective.backwards.tolist()))
        assert torch.isfinite(values).tolist() == [True, step <= 2, True]
        assert gradients.flatten(1).any(dim=1).tolist() == [True, step <= 2, True]
    assert costs == [([n, min(n, 3) + (n >= 3), n], [n, min(n, 3), n]) for n in (1, 2, 3, 4)]
    assert torch.equal(objective.best[1], ((clean[1] + 2 * LEVEL) * 255).round() / 255)
    assert metric.rows == int(objective.forwards.sum())


def test_a_clean_image_that_is_there_already_is_asked_once(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    goal = Towards(score=float(clean[0, 0, 0, 0]), tolerance=0.1 * LEVEL)
    objective = toys.objective(toys.Broken(first_pixel), clean, goal=goal)
    for _ in range(3):
        values_and_gradients(objective, clean)
    assert objective.backwards.tolist() == [1, 3]


def test_arriving_between_two_levels_does_not_count(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1)
    goal = Towards(score=float(clean[0, 0, 0, 0]) + 1.4 * LEVEL, tolerance=0.1 * LEVEL)
    objective = toys.objective(toys.Broken(first_pixel), clean, goal=goal)
    values_and_gradients(objective, clean + 1.4 * LEVEL)
    assert objective.forwards.tolist() == [2]
    assert objective.unfinished().tolist() == [0]
    values_and_gradients(objective, clean + LEVEL)
    assert objective.backwards.tolist() == [2]


def test_when_all_have_arrived_a_call_costs_nothing(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    metric = toys.Broken(brightness)
    objective = toys.objective(metric, clean, goal=Towards(score=0.5, tolerance=1.0))
    values_and_gradients(objective, clean)
    calls = len(metric.batches)
    values, gradients = values_and_gradients(objective, clean)
    assert len(metric.batches) == calls
    assert not torch.isfinite(values).any()
    assert not gradients.any()


def test_who_cannot_pay_is_not_asked(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(brightness), clean, goal=Towards(score=9.0), max_forwards=4, reserve=1)
    objective.values(clean[[1, 1]], torch.tensor([1, 1]))
    for _ in range(5):
        values_and_gradients(objective, clean)
    assert objective.forwards.tolist() == [3, 3]
    assert objective.backwards.tolist() == [3, 1]


def test_without_a_target_the_end_of_the_budget_ends_the_run(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(brightness), clean, max_forwards=1)
    values_and_gradients(objective, clean)
    with pytest.raises(BudgetExhausted):
        values_and_gradients(objective, clean)


def test_an_images_draws_do_not_depend_on_who_else_is_unfinished(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, low=100, high=110)
    goal = Towards(score=float(clean[0].mean()) * 3, tolerance=0.01)
    noisy = {"weights": torch.full((3, 8, 9), 3 / 216), "noise": 0.0001}
    both = toys.objective(toys.Noisy(**noisy), clean, goal=goal)
    alone = toys.objective(toys.Noisy(**noisy), clean[:1], goal=goal)
    for step in range(4):
        images = clean + torch.tensor([-3.0, 0.0])[:, None, None, None] * (3 - step) * LEVEL
        values, gradients = values_and_gradients(both, images)
        expected = values_and_gradients(alone, images[:1])
        assert torch.equal(values[:1], expected[0])
        assert torch.equal(gradients[:1], expected[1])
    assert both.backwards[0] == alone.backwards[0]


def test_what_is_answered_is_the_callers_to_change(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2)
    objective = toys.objective(toys.Broken(brightness), clean)  # its gradient is one number, expanded
    values, gradients = values_and_gradients(objective, clean)
    best, trace = objective.best_values.clone(), objective.trace.copy()
    values += 1
    gradients[0, 0, 0, 0] = 7
    assert float(gradients[0, 0, 0, 1]) != 7
    assert torch.equal(objective.best_values, best)
    assert objective.trace == trace
