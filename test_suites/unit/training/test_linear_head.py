"""The ridge head against scikit-learn and least squares, and the features it is fitted to."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from iqa_robustness.metrics.score_head import ScoreHead
from iqa_robustness.training.examples import Example
from iqa_robustness.training.linear_head import features_of, fit_linear_heads

PENALTIES = (0.001, 0.3, 10.0, 300.0)


def problem(rows: int = 40, columns: int = 12, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of scales from 0.1 to 10, targets that depend on them, weights with sum 1."""
    random = np.random.default_rng(seed)
    scales = np.logspace(-1, 1, columns)
    features = random.normal(size=(rows, columns)) * scales + random.normal(size=columns)
    targets = 50 + 10 * (features / scales)[:, :3].sum(axis=1) + random.normal(size=rows)
    weights = random.uniform(0.1, 2, size=rows)
    return torch.from_numpy(features), torch.from_numpy(targets), torch.from_numpy(weights / weights.sum())


# --- the fit --------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(rows=st.integers(5, 60), columns=st.integers(1, 20), seed=st.integers(0, 1000))
def test_equals_ridge_regression_of_scikit_learn(rows: int, columns: int, seed: int) -> None:
    features, targets, weights = problem(rows, columns, seed)
    values, share = features.numpy(), weights.numpy()
    center = np.average(values, axis=0, weights=share)
    standard = (values - center) / np.sqrt(np.average((values - center) ** 2, axis=0, weights=share))
    unseen, _, _ = problem(rows, columns, seed + 1)
    unseen_standard = (unseen.numpy() - center) / np.sqrt(np.average((values - center) ** 2, axis=0, weights=share))
    heads = fit_linear_heads(features, targets, weights, penalties=PENALTIES)
    assert len(heads) == len(PENALTIES)
    for head, penalty in zip(heads, PENALTIES, strict=True):
        ridge = Ridge(alpha=penalty, solver="svd").fit(standard, targets.numpy(), sample_weight=share)
        assert head.slope.tolist() == pytest.approx(ridge.coef_.tolist(), rel=1e-6, abs=1e-8)
        assert head.bias == pytest.approx(float(ridge.intercept_), rel=1e-9)
        expected = ridge.predict(unseen_standard)
        assert head.scores(unseen).tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-6)


def test_a_weight_of_two_is_a_row_twice() -> None:
    features, targets, _ = problem()
    counts = torch.tensor([1, 2, 3, 0] * 10)
    weighted = fit_linear_heads(features, targets, counts / counts.sum(), penalties=[0.5])[0]
    rows = torch.repeat_interleave(torch.arange(40), counts)
    repeated = fit_linear_heads(
        features[rows], targets[rows], torch.full((len(rows),), 1 / len(rows)), penalties=[0.5]
    )[0]
    # `counts / counts.sum()` is float32.
    assert weighted.scores(features).tolist() == pytest.approx(repeated.scores(features).tolist(), rel=1e-5)


def test_rows_without_weight_are_not_seen() -> None:
    features, targets, weights = problem()
    weights[:10] = 0
    weights /= weights.sum()
    spoiled = targets.clone()
    spoiled[:10] = 1e6
    first, second = (fit_linear_heads(features, t, weights, penalties=[1.0])[0] for t in (targets, spoiled))
    assert first.slope.equal(second.slope)
    assert first.bias == second.bias


def test_without_penalty_it_is_least_squares() -> None:
    features, targets, weights = problem()
    head = fit_linear_heads(features, targets, weights, penalties=[0.0])[0]
    design = np.column_stack([features.numpy(), np.ones(len(features))]) * np.sqrt(weights.numpy())[:, None]
    solution, *_ = np.linalg.lstsq(design, (targets * weights.sqrt()).numpy(), rcond=None)
    expected = features.numpy() @ solution[:-1] + solution[-1]
    assert head.scores(features).tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_a_huge_penalty_leaves_the_weighted_mean() -> None:
    features, targets, weights = problem()
    head = fit_linear_heads(features, targets, weights, penalties=[1e12])[0]
    mean = np.average(targets.numpy(), weights=weights.numpy())
    assert head.scores(features).tolist() == pytest.approx([mean] * len(features), rel=1e-9)


def test_a_larger_penalty_means_a_smaller_slope_and_a_larger_error() -> None:
    features, targets, weights = problem()
    heads = fit_linear_heads(features, targets, weights, penalties=PENALTIES)
    norms = [float(head.slope.norm()) for head in heads]
    errors = [float(weights @ (head.scores(features) - targets) ** 2) for head in heads]
    assert all(larger > smaller for larger, smaller in pairwise(norms))
    assert all(smaller < larger for smaller, larger in pairwise(errors))


def test_features_are_standardised_and_constant_ones_are_harmless() -> None:
    features, targets, weights = problem()
    features[:, 3] = 5.0
    head = fit_linear_heads(features, targets, weights, penalties=[0.3])[0]
    standard = (features - head.center) * head.scale
    deviation = (weights @ (standard - weights @ standard) ** 2).sqrt()
    assert (weights @ standard).abs().max() < 1e-9
    ordinary = [column for column in range(12) if column != 3]
    assert deviation[ordinary].tolist() == pytest.approx([1] * len(ordinary))
    assert float(deviation[3]) < 1e-9
    # What hardly varies is not blown up: the least deviation is a thousandth of the mean one.
    found = (weights @ (features - head.center) ** 2).sqrt()
    assert float(head.scale.max()) == pytest.approx(float(1000 / found.mean()))
    assert bool(torch.isfinite(head.scores(features)).all())


def test_float32_features_are_solved_in_float64() -> None:
    features, targets, weights = problem()
    head = fit_linear_heads(features.float(), targets.float(), weights.float(), penalties=[0.3])[0]
    assert {part.dtype for part in (head.center, head.scale, head.slope)} == {torch.float64}
    assert head.scores(features.float()).dtype == torch.float64


def test_the_module_gives_the_same_scores_in_float32() -> None:
    features, targets, weights = problem()
    head = fit_linear_heads(features, targets, weights, penalties=[0.3])[0]
    module = head.module()
    assert isinstance(module, ScoreHead)
    assert set(module.state_dict()) == set(ScoreHead(12).state_dict())
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    scores = module(features.float()).detach()
    assert scores.tolist() == pytest.approx(head.scores(features).tolist(), rel=1e-5)


# --- features -------------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """The mean of each channel; notes the shape of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.shapes.append(tuple(images.shape))
        return images.mean(dim=(2, 3))


def example(number: int, rows: int, columns: int) -> Example:
    pixels = np.random.default_rng(number).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    return Example(pixels=pixels, target=float(number), content=str(number), kind="human", view="full")


SIZES = st.lists(st.sampled_from([(4, 5), (5, 4), (6, 6)]), min_size=1, max_size=40)


@settings(max_examples=40)
@given(sizes=SIZES)
def test_rows_are_in_the_order_of_the_examples(sizes: list[tuple[int, int]]) -> None:
    examples = [example(number, *size) for number, size in enumerate(sizes)]
    toy, done = Toy(), []
    features, kept = features_of(toy, iter(examples), done=done.append)
    expected = np.stack([one.pixels.mean(axis=(0, 1)) / 255 for one in examples])
    assert features.dtype == torch.float32
    assert features.numpy() == pytest.approx(expected, rel=1e-5)
    assert [one.target for one in kept] == [one.target for one in examples]
    assert all(one.pixels.size == 0 for one in kept)
    # One forward an image, images of one size together.
    assert sum(shape[0] for shape in toy.shapes) == len(examples)
    assert len(toy.shapes) == sum(-(-sizes.count(size) // 8) for size in set(sizes))
    assert done == sorted(set(done))
    assert done[-1] == len(examples)


def test_features_can_be_learned_from() -> None:
    features, _ = features_of(Toy(), [example(0, 4, 5)])
    assert not features.is_inference()
    slope = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad((features @ slope).sum(), slope)
    assert gradient.equal(features[0])


def test_pixels_are_dropped_as_soon_as_they_have_been_seen() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def made() -> Iterator[Example]:
        nonlocal most
        for number in range(50):
            one = example(number, 4, 5 + number % 2)
            alive.append(weakref.ref(one.pixels))
            yield one
            del one
            most = max(most, sum(reference() is not None for reference in alive))

    features, _ = features_of(Toy(), made())
    assert len(features) == 50
    # Eight of each size wait at most, and the loop still holds the last one.
    assert most <= 17
