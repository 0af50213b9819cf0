"""Budgets: what they admit is on the 8-bit grid, in range and within the limit, whatever was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness.attacks.projections import Budget, Linf
from iqa_robustness.errors import ConfigurationError

EPSILONS = st.one_of(
    st.sampled_from(
        [0.0, 2 / 255, 4 / 255, 8 / 255, 0.0313725, 3.7 / 255, 0.5 / 255, 1.0, 7.9995 / 255, 7.999001 / 255]
    ),
    st.floats(0, 1, allow_subnormal=False),
)
SHAPE = (2, 3, 4, 5)
CLEAN = hnp.arrays(np.uint8, SHAPE, elements=st.one_of(st.sampled_from([0, 1, 254, 255]), st.integers(0, 255)))
WISHES = hnp.arrays(
    np.float32,
    SHAPE,
    elements=st.one_of(
        st.floats(-2, 3, width=32),
        st.sampled_from([-math.inf, math.inf, 0.0, 1.0]).map(np.float32),
        st.integers(0, 255).map(lambda level: np.float32(level / 255)),
    ),
)


def images(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels.astype(np.float32) / np.float32(255))


def levels_of(pictures: Tensor) -> np.ndarray:
    return np.rint(pictures.numpy().astype(np.float64) * 255)


@given(clean=CLEAN, wish=WISHES, epsilon=EPSILONS)
@settings(deadline=None, max_examples=150)
def test_whatever_is_asked_for_is_admitted_on_the_grid_in_range_and_in_the_budget(
    clean: np.ndarray, wish: np.ndarray, epsilon: float
) -> None:
    budget, original = Linf(epsilon=epsilon), images(clean)
    admitted = budget.admit(torch.from_numpy(wish), original)
    levels = levels_of(admitted)
    assert torch.equal(admitted, images(levels.astype(np.uint8)))
    assert levels.min() >= 0
    assert levels.max() <= 255
    # Exact integers: the change in whole levels, against epsilon up to the declared float slack.
    assert np.abs(levels - clean).max() <= epsilon * 255 + 1e-3
    assert not budget.violations(admitted, original).any()


@given(clean=CLEAN, wish=WISHES, epsilon=EPSILONS)
@settings(deadline=None)
def test_what_was_admitted_is_admitted_unchanged(clean: np.ndarray, wish: np.ndarray, epsilon: float) -> None:
    budget, original = Linf(epsilon=epsilon), images(clean)
    admitted = budget.admit(torch.from_numpy(wish), original)
    assert torch.equal(budget.admit(admitted, original), admitted)
    assert torch.equal(budget.admit(original, original), original)


@given(clean=CLEAN, wish=WISHES, epsilon=EPSILONS)
@settings(deadline=None)
def test_of_the_allowed_levels_the_one_nearest_to_the_wish_is_admitted(
    clean: np.ndarray, wish: np.ndarray, epsilon: float
) -> None:
    whole = math.floor(epsilon * 255 + 5e-4)
    reach = clean.astype(np.int64)
    low, high = np.maximum(reach - whole, 0), np.minimum(reach + whole, 255)
    nearest = np.clip(np.rint(np.clip(wish, -9, 9).astype(np.float32) * np.float32(255)), low, high)
    assert np.array_equal(levels_of(Linf(epsilon=epsilon).admit(torch.from_numpy(wish), images(clean))), nearest)


@given(clean=CLEAN, wish=WISHES, epsilon=EPSILONS)
@settings(deadline=None)
def test_projection_is_the_clip_to_the_cube_within_the_range(
    clean: np.ndarray, wish: np.ndarray, epsilon: float
) -> None:
    original = images(clean)
    projected = Linf(epsilon=epsilon).project(torch.from_numpy(wish), original)
    grid = original.numpy().astype(np.float64)
    expected = np.clip(wish.astype(np.float64), np.maximum(grid - epsilon, 0), np.minimum(grid + epsilon, 1))
    np.testing.assert_allclose(projected.numpy(), expected, rtol=0, atol=1.2e-7)
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 1


def test_projection_and_admission_leave_their_arguments_alone() -> None:
    clean, wish = images(np.full(SHAPE, 7, np.uint8)), torch.full(SHAPE, 0.9)
    Linf(epsilon=4 / 255).project(wish, clean)
    Linf(epsilon=4 / 255).admit(wish, clean)
    assert torch.equal(clean, images(np.full(SHAPE, 7, np.uint8)))
    assert torch.equal(wish, torch.full(SHAPE, 0.9))


def test_a_budget_of_zero_admits_the_clean_image_only() -> None:
    clean = images(np.random.RandomState(0).randint(0, 256, SHAPE))
    assert torch.equal(Linf(epsilon=0).admit(torch.rand(SHAPE), clean), clean)
    assert torch.equal(Linf(epsilon=0).project(torch.rand(SHAPE), clean), clean)


@pytest.mark.parametrize(("epsilon", "whole"), [(0.0313725, 8), (3.7 / 255, 3), (0.9 / 255, 0), (0.4 / 255 * 10, 4)])
def test_part_levels_are_not_used(epsilon: float, whole: int) -> None:
    clean = images(np.full(SHAPE, 100, np.uint8))
    assert set(levels_of(Linf(epsilon=epsilon).admit(torch.ones(SHAPE), clean)).ravel()) == {100 + whole}
    assert set(levels_of(Linf(epsilon=epsilon).admit(torch.zeros(SHAPE), clean)).ravel()) == {100 - whole}


def test_at_the_ends_of_the_range_the_budget_points_inwards() -> None:
    ends = np.zeros(SHAPE, np.uint8)
    ends[1] = 255
    signs = torch.tensor([-1.0, 1.0])[:, None, None, None]
    outwards = Linf(epsilon=8 / 255).admit(images(ends) + signs, images(ends))
    inwards = Linf(epsilon=8 / 255).admit(images(ends) - signs, images(ends))
    assert torch.equal(outwards, images(ends))
    assert np.array_equal(levels_of(inwards), np.abs(ends.astype(int) - 8))


@given(level=st.integers(0, 255), change=st.integers(-12, 12), epsilon=st.integers(0, 10))
@settings(deadline=None)
def test_a_violation_is_a_change_of_more_levels_than_allowed(level: int, change: int, epsilon: int) -> None:
    clean = np.full(SHAPE, level)
    moved = clean.copy()
    moved[1, 2, 3, 4] = min(max(level + change, 0), 255)
    too_far = abs(int(moved[1, 2, 3, 4]) - level) > epsilon
    assert Linf(epsilon=epsilon / 255).violations(images(moved), images(clean)).tolist() == [False, too_far]


def test_an_image_that_holds_nan_is_a_violation() -> None:
    clean = images(np.full(SHAPE, 9, np.uint8))
    moved = clean.clone()
    moved[0, 0, 0, 0] = torch.nan
    assert Linf(epsilon=1).violations(moved, clean).tolist() == [True, False]


def test_the_used_budget_is_the_largest_change_of_each_image() -> None:
    clean = images(np.full(SHAPE, 100, np.uint8))
    moved = clean.clone()
    moved[0, 1, 2, 3] += 3 / 255
    moved[1, 0, 0, 0] -= 5 / 255
    sizes = Linf(epsilon=8 / 255).size(moved, clean)
    assert sizes.tolist() == pytest.approx([3 / 255, 5 / 255], abs=1e-7)
    assert Linf(epsilon=8 / 255).limit == 8 / 255


@pytest.mark.parametrize("epsilon", [-1 / 255, 1.01, 4.0, math.nan, math.inf])
def test_an_epsilon_outside_the_unit_interval_is_refused(epsilon: float) -> None:
    with pytest.raises(ConfigurationError, match=r"epsilon must lie in \[0, 1\]") as caught:
        Linf(epsilon=epsilon)
    assert "4/255, not 4" in str(caught.value)


def test_a_budget_declares_its_restriction() -> None:
    assert Linf.restriction == "linf"
    assert issubclass(Linf, Budget)
