"""Learners that follow Adam: against Kingma and Ba's formulas in NumPy, and going on as if nothing had been."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks.adam_learner import AdamLearner

STEPS = 12


class Bowl(AdamLearner):
    """Two parameters whose gradients are those of a bowl, times `scale`."""

    def __init__(self, *, rate: float = 0.1, annealed: bool = True, scale: float = 1.0) -> None:
        self.values = {
            "a": torch.tensor([1.0, -2.0], requires_grad=True),
            "b": torch.tensor([[0.5]], requires_grad=True),
        }
        options = {} if annealed else {"stabiliser": 1e-3}
        super().__init__(self.values, rate=rate, annealed=annealed, **options)
        self.scale = scale

    def perturbations(self, images: Tensor) -> Tensor:
        return images

    def step(self, number: int) -> None:
        loss = sum((value**2).sum() for value in self.values.values()) * self.scale * (1 + 0.3 * (-1) ** number)
        loss.backward()
        self.update(number / STEPS)


def expected(gradient: Callable[[np.ndarray, int], np.ndarray], rates: list[float], epsilon: float) -> np.ndarray:
    """Adam, algorithm 1 of the paper, in float64."""
    value, first, second = np.array([1.0, -2.0, 0.5]), np.zeros(3), np.zeros(3)
    for number, rate in enumerate(rates):
        slope = gradient(value, number)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        scaled = second / (1 - 0.999 ** (number + 1))
        value = value - rate * (first / (1 - 0.9 ** (number + 1))) / (np.sqrt(scaled) + epsilon)
    return value


@pytest.mark.parametrize("annealed", [True, False])
def test_it_is_adam_with_a_rate_along_a_cosine_or_a_constant_one(annealed: bool) -> None:
    learner = Bowl(annealed=annealed)
    for number in range(STEPS):
        learner.step(number)
    cosine = [0.1 * (1 + math.cos(math.pi * number / STEPS)) / 2 for number in range(STEPS)]
    found = np.concatenate([value.detach().numpy().ravel() for value in learner.tensors().values()])
    values = expected(
        lambda x, n: 2 * x * (1 + 0.3 * (-1) ** n),
        cosine if annealed else [0.1] * STEPS,
        1e-16 if annealed else 1e-3,
    )
    np.testing.assert_allclose(found, values, rtol=1e-5)


def test_the_size_of_a_gradient_does_not_matter() -> None:
    large, small = Bowl(), Bowl(scale=1e-10)
    for number in range(STEPS):
        large.step(number)
        small.step(number)
    for name, value in large.tensors().items():
        assert torch.allclose(value, small.tensors()[name], rtol=1e-4), name


def test_a_restored_learner_goes_on_bit_for_bit() -> None:
    whole = Bowl()
    for number in range(STEPS):
        whole.step(number)
        if number == 4:
            kept = {name: tensor.clone() for name, tensor in whole.state().items()}
    resumed = Bowl()
    resumed.restore(kept)
    for number in range(5, STEPS):
        resumed.step(number)
    assert sorted(resumed.state()) == sorted(whole.state())
    for name, tensor in whole.state().items():
        assert torch.equal(resumed.state()[name], tensor), name


def test_the_state_before_the_first_step_can_be_restored() -> None:
    learner, other = Bowl(), Bowl()
    other.step(0)
    fresh = Bowl()
    fresh.restore(learner.state())
    fresh.step(0)
    assert torch.equal(fresh.values["a"], other.values["a"])


def test_gradients_do_not_add_up_from_step_to_step() -> None:
    learner = Bowl()
    learner.step(0)
    assert all(value.grad is None for value in learner.values.values())
