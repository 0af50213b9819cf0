"""The norm-in-norm loss against plain NumPy, and the properties that make it what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqa_robustness.training.norm_in_norm import errors, norm_in_norm, normalised, scale

VALUES = hnp.arrays(np.float64, st.integers(3, 12), elements=st.floats(-50, 50, width=32))


def reference(scores: np.ndarray, labels: np.ndarray, *, p: float, q: float) -> float:
    """The paper's formula, one number at a time."""

    def unit(values: np.ndarray) -> list[float]:
        mean = sum(values) / len(values)
        length = sum(abs(value - mean) ** q for value in values) ** (1 / q)
        return [(value - mean) / length for value in values]

    total = sum(abs(a - b) ** p for a, b in zip(unit(scores), unit(labels), strict=True)) ** (1 / p)
    divisor = 2 ** max(1, 1 / q) * len(scores) ** max(0, 1 / p - 1 / q)
    return float((total / divisor) ** p)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float64))


@pytest.mark.parametrize(("p", "q"), [(1.0, 2.0), (2.0, 2.0), (1.0, 1.0), (2.0, 1.0)])
def test_it_is_the_formula(p: float, q: float) -> None:
    draw = np.random.default_rng(3)
    for count in (2, 3, 16, 64):
        scores, labels = draw.normal(size=count), draw.uniform(0, 100, size=count)
        found = float(norm_in_norm(tensor(scores), tensor(labels), p=p, q=q))
        assert found == pytest.approx(reference(scores, labels, p=p, q=q), rel=1e-6, abs=1e-7)


def test_a_case_by_hand() -> None:
    # Of two values the normalised ones are ±1/√2: the loss of a wrong order is 2√2 over 2√2.
    assert float(norm_in_norm(tensor(np.array([0.0, 1.0])), tensor(np.array([5.0, 3.0])))) == pytest.approx(1)
    assert float(norm_in_norm(tensor(np.array([0.0, 1.0])), tensor(np.array([3.0, 5.0])))) == pytest.approx(0, abs=1e-7)
    assert scale(64) == pytest.approx(16)


@given(labels=VALUES, slope=st.floats(0.01, 100), offset=st.floats(-100, 100))
def test_neither_scale_nor_offset_of_the_scores_matters(labels: np.ndarray, slope: float, offset: float) -> None:
    assume(np.ptp(labels) > 1)
    assert float(norm_in_norm(tensor(slope * labels + offset), tensor(labels))) == pytest.approx(0, abs=1e-5)


@given(scores=VALUES)
def test_it_is_at_most_one(scores: np.ndarray) -> None:
    labels = np.arange(len(scores), dtype=np.float64)
    assert 0 <= float(norm_in_norm(tensor(scores), tensor(labels))) <= 1 + 1e-9


def test_the_errors_of_the_images_sum_to_it() -> None:
    draw = np.random.default_rng(5)
    scores, labels = tensor(draw.normal(size=9)), tensor(draw.normal(size=9))
    each = errors(scores, labels)
    assert each.shape == (9,)
    assert float(each.sum()) == pytest.approx(float(norm_in_norm(scores, labels)))
    assert int(each.argmax()) == int((normalised(scores) - normalised(labels)).abs().argmax())


def test_gradients_agree_with_finite_differences() -> None:
    draw = np.random.default_rng(8)
    scores, labels = tensor(draw.normal(size=6)).requires_grad_(True), tensor(draw.normal(size=6))
    assert torch.autograd.gradcheck(lambda values: norm_in_norm(values, labels), (scores,))


def test_equal_scores_give_a_finite_loss_and_gradient() -> None:
    scores = torch.full((4,), 3.0, requires_grad=True)
    value = norm_in_norm(scores, torch.arange(4.0))
    value.backward()
    assert torch.isfinite(value)
    assert scores.grad is not None
    assert bool(torch.isfinite(scores.grad).all())
