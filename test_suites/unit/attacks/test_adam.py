"""Adam's directions against the library's updates, and against the first step in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam

EVERY = torch.arange(2)


def sequence(count: int, *, seed: int = 0) -> torch.Tensor:
    random = np.random.RandomState(seed)
    values = random.standard_normal((count, 2, 3, 4, 5)) * 10.0 ** random.uniform(-4, 4, (count, 1, 1, 1, 1))
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_it_climbs_where_the_librarys_descends(betas: tuple[float, float]) -> None:
    ours = torch.zeros(2, 3, 4, 5)
    theirs = torch.zeros_like(ours).requires_grad_(True)
    library = torch.optim.Adam([theirs], lr=0.03, betas=betas)
    adam = Adam(ours, betas=betas, epsilon=TORCH_EPSILON)
    for gradients in sequence(30):
        ours += 0.03 * adam.directions(gradients, EVERY)
        theirs.grad = -gradients
        library.step()
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_the_first_direction_is_the_sign() -> None:
    gradients = sequence(1)[0]
    assert torch.allclose(Adam(gradients).directions(gradients, EVERY), gradients.sign(), rtol=1e-3)


def test_tiny_gradients_move_as_far_as_large_ones() -> None:
    gradients = sequence(1)[0]
    small = Adam(gradients).directions(gradients.sign() * 1e-9, EVERY)
    assert torch.allclose(small, gradients.sign(), rtol=1e-5)
    damped = Adam(gradients, epsilon=TORCH_EPSILON).directions(gradients.sign() * 1e-9, EVERY)
    assert float(damped.abs().max()) < 0.2


def test_no_gradient_is_no_step_and_no_division_by_zero() -> None:
    adam = Adam(torch.zeros(2, 3))
    assert not adam.directions(torch.zeros(2, 3), EVERY).any()


def test_an_images_path_does_not_depend_on_who_goes_on_beside_it() -> None:
    gradients = sequence(6)
    together, alone = Adam(gradients[0]), Adam(gradients[0, 1:])
    for number, gradient in enumerate(gradients):
        rows = EVERY if number < 3 else torch.tensor([1])
        ours = together.directions(gradient[rows], rows)
        assert torch.equal(ours[-1:], alone.directions(gradient[1:], torch.tensor([0])))


def test_the_gradients_are_left_as_they_were_and_directions_are_new() -> None:
    gradients = sequence(1)[0]
    before, adam = gradients.clone(), Adam(gradients)
    first = adam.directions(gradients, EVERY)
    kept = first.clone()
    adam.directions(-gradients, EVERY)
    assert torch.equal(gradients, before)
    assert torch.equal(first, kept)
