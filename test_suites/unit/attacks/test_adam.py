"""Adam's update against the library's, and against its first step in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iqa_robustness.attacks.adam import Adam


def sequence(count: int, *, seed: int = 0) -> torch.Tensor:
    values = np.random.RandomState(seed).standard_normal((count, 2, 3, 4, 5))
    return torch.from_numpy(
        (values * 10.0 ** np.random.RandomState(seed).uniform(-4, 4, (count, 1, 1, 1, 1))).astype("f4")
    )


@pytest.mark.parametrize("decays", [(0.9, 0.999), (0.5, 0.9)])
def test_it_climbs_where_the_librarys_descends(decays: tuple[float, float]) -> None:
    ours = torch.zeros(2, 3, 4, 5)
    theirs = torch.zeros_like(ours).requires_grad_(True)
    library = torch.optim.Adam([theirs], lr=0.03, betas=decays)
    adam = Adam(ours, 0.03, decays=decays)
    for gradients in sequence(30):
        ours += adam.step(gradients)
        theirs.grad = -gradients
        library.step()
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_the_first_step_is_the_rate_along_the_signs() -> None:
    gradients = sequence(1)[0]
    assert torch.allclose(Adam(gradients, 0.25).step(gradients), 0.25 * gradients.sign(), rtol=1e-3)


def test_no_gradient_is_no_step_and_no_division_by_zero() -> None:
    adam = Adam(torch.zeros(2, 3), 1.0)
    assert not adam.step(torch.zeros(2, 3)).any()


def test_the_gradients_are_left_as_they_were_and_steps_are_new() -> None:
    gradients = sequence(1)[0]
    before, adam = gradients.clone(), Adam(gradients, 0.1)
    first = adam.step(gradients)
    kept = first.clone()
    adam.step(-gradients)
    assert torch.equal(gradients, before)
    assert torch.equal(first, kept)
