"""Which gradients can be climbed: every value finite, some not zero, also where a norm overflows or vanishes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.attacks.gradients import finite_and_nonzero
from iqa_robustness.images import same_bits

VALUES = st.sampled_from([0.0, -0.0, 1.0, -3e-30, 1e-45, 3e38, -3e38, float("nan"), float("inf"), -float("inf")])


@given(rows=st.lists(st.lists(VALUES, min_size=12, max_size=12), min_size=1, max_size=5))
def test_it_is_what_looking_at_every_value_says(rows: list[list[float]]) -> None:
    gradients = torch.tensor(rows).view(-1, 3, 2, 2)
    finite, nonzero = finite_and_nonzero(gradients)
    flat = gradients.flatten(1)
    assert finite.tolist() == torch.isfinite(flat).all(dim=1).tolist()
    known = ~flat.isnan().any(dim=1)
    assert nonzero[known].tolist() == (flat != 0).any(dim=1)[known].tolist()


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 3, 5, 5), (1, 3, 1, 1)])
def test_batches_are_the_same_where_every_value_is(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert same_bits(images, images.clone())
    other = images.clone()
    other[-1, -1, -1, -1] += 1 / 255
    assert not same_bits(images, other)


def test_another_layout_of_the_same_values_is_the_same() -> None:
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert same_bits(images, images.to(memory_format=torch.channels_last))


def test_a_slice_that_begins_in_the_middle_of_a_word_is_compared_too() -> None:
    images = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert same_bits(images[1:], images[1:].clone())
    assert not same_bits(images[1:], images[:2])
