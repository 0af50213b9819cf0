"""Adam per image: against torch's, bit for bit in any company, and with images that drop out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.attacks.adam import TORCH_EPSILON, Adam


def gradients(steps: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_path_is_that_of_torch(betas: tuple[float, float], scale: float) -> None:
    start = torch.zeros(3, 4, 5)
    ours = start.clone()
    adam = Adam(ours, betas=betas, epsilon=TORCH_EPSILON)
    theirs = start.clone().requires_grad_(True)
    reference = torch.optim.Adam([theirs], lr=0.1, betas=betas, maximize=True)
    rows = torch.arange(3)
    for gradient in gradients(12, 3, 4, 5) * scale:
        ours = ours + 0.1 * adam.directions(gradient, rows)
        theirs.grad = gradient
        reference.step()
    assert torch.allclose(ours, theirs.detach(), rtol=1e-4, atol=1e-6)


@given(
    chosen=st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True),
    size=st.integers(1, 37),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=40)
def test_an_images_path_does_not_depend_on_its_companions(chosen: list[int], size: int, seed: int) -> None:
    path = gradients(4, 5, size, seed=seed)
    whole, part = Adam(path[0]), Adam(path[0][chosen])
    for gradient in path:
        together = whole.directions(gradient, torch.arange(5))
        apart = part.directions(gradient[chosen], torch.arange(len(chosen)))
        assert torch.equal(together[chosen], apart)


def test_who_drops_out_leaves_the_others_alone() -> None:
    path = gradients(5, 3, 7)
    whole, shrinking = Adam(path[0]), Adam(path[0])
    for step, gradient in enumerate(path):
        rows = torch.tensor([0, 1, 2] if step < 2 else [0, 2])
        every = whole.directions(gradient, torch.arange(3))
        assert torch.equal(shrinking.directions(gradient[rows], rows), every[rows])


def test_the_default_goes_as_far_for_a_tiny_gradient_as_for_a_large_one_and_torchs_does_not() -> None:
    sign = torch.tensor([[1.0, -1.0, 0.0]])
    rows = torch.arange(1)
    assert torch.allclose(Adam(sign).directions(sign * 1e-9, rows), sign)
    assert float(Adam(sign, epsilon=TORCH_EPSILON).directions(sign * 1e-9, rows).abs().max()) < 0.1
