"""Limits: rounding noise is clamped without stopping gradients, and what does not fit is refused with its sizes."""

from __future__ import annotations

import pytest
import torch

from iqa_robustness.defenses.purification.limits import check_kernel, refuse_smaller, within_range
from iqa_robustness.errors import ConfigurationError

ABOVE = 1 + 2**-23  # the next float32 after 1


def test_rounding_noise_is_clamped_exactly() -> None:
    means = torch.tensor([-1e-8, 0.0, 0.3, 1.0, ABOVE])
    assert within_range(means).tolist() == [0.0, 0.0, pytest.approx(0.3), 1.0, 1.0]
    assert torch.equal(within_range(means[1:4]), means[1:4])


def test_the_gradient_of_a_white_pixel_is_not_stopped() -> None:
    leaf = torch.tensor([-1e-8, 0.5, ABOVE], requires_grad=True)
    within_range(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [1, 1, 1]
    # What it is for: this is what `clamp` makes of it.
    other = leaf.detach().clone().requires_grad_(True)
    other.clamp(0, 1).sum().backward()
    assert other.grad is not None
    assert other.grad.tolist() == [0, 1, 0]


@pytest.mark.parametrize("size", [(5, 9), (9, 5), (5, 5)])
def test_an_image_that_is_too_small_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    images = torch.zeros(2, 3, *size)
    refuse_smaller(images, 5, defense="d", what="it", fix="f")
    with pytest.raises(ConfigurationError, match=rf"it takes images from 6 × 6 pixels, got {size[0]} × {size[1]}") as e:
        refuse_smaller(images, 6, defense="d", what="it", fix="use less")
    assert e.value.where.defense == "d"
    assert e.value.fix == "use less"


@pytest.mark.parametrize("size", [-3, 0, 2, 4, 12])
def test_a_kernel_size_is_odd_and_at_least_one(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"odd and at least 1, got {size}"):
        check_kernel(size, defense="d")


@pytest.mark.parametrize("size", [1, 3, 11])
def test_odd_kernel_sizes_are_taken(size: int) -> None:
    check_kernel(size, defense="d")
