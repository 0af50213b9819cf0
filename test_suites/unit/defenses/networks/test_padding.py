"""Images lengthened to multiples of a stride."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.defenses.purification.networks.padding import lengthened


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 20), width=st.integers(1, 20), multiple=st.sampled_from([1, 2, 4, 8]))
def test_both_sides_are_the_next_multiples_and_the_image_stays_in_its_corner(
    height: int, width: int, multiple: int
) -> None:
    images = torch.rand(1, 2, height, width)
    longer = lengthened(images, multiple)
    assert longer.shape == (1, 2, -(-height // multiple) * multiple, -(-width // multiple) * multiple)
    assert torch.equal(longer[:, :, :height, :width], images)


@pytest.mark.parametrize(("size", "mode"), [((13, 10), "reflect"), ((3, 10), "edge"), ((13, 4), "edge")])
def test_it_reflects_unless_the_image_is_shorter_than_its_reflection(size: tuple[int, int], mode: str) -> None:
    images = torch.rand(1, 3, *size)
    below, right = -size[0] % 8, -size[1] % 8
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode=mode)  # type: ignore[call-overload]
    assert np.array_equal(lengthened(images, 8).numpy(), expected)
