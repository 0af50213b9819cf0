"""Twelve classes of scores: their edges, and no score misplaced by rounding, against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness.defenses.certified.score_classes import CLASSES, ScoreClasses

# The published ranges of a metric each, and one below zero.
RANGES = [(0.0, 1.0), (3.911764705882, 88.388888888889), (0.108, 0.783), (-17.5, -2.25), (1.0, 10.0)]
BOUNDS = (
    st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
    .map(lambda pair: (pair[0], pair[0] + pair[1]))
    .filter(lambda pair: pair[1] > pair[0])
)


def exact_class(score: float, low: float, high: float) -> int:
    """By fractions: what a float says is a rational number, and so are the edges."""
    if score <= low:
        return 0
    if score > high:
        return 11
    return math.ceil((Fraction(score) - Fraction(low)) * 10 / (Fraction(high) - Fraction(low)))


def class_of(score: float, low: float, high: float) -> int:
    return int(ScoreClasses((low, high)).of(torch.tensor([score], dtype=torch.float64)))


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_ends_belong_to_the_lowest_class_and_to_the_tenth(low: float, high: float) -> None:
    assert class_of(low, low, high) == 0
    assert class_of(math.nextafter(low, -math.inf), low, high) == 0
    assert class_of(math.nextafter(low, math.inf), low, high) == 1
    assert class_of(high, low, high) == 10
    assert class_of(math.nextafter(high, -math.inf), low, high) == 10
    assert class_of(math.nextafter(high, math.inf), low, high) == 11
    assert class_of(-1e9, low, high) == 0
    assert class_of(1e9, low, high) == 11


def test_an_inner_edge_belongs_to_the_class_below() -> None:
    scores = torch.tensor([0.0, 10.0, 10.000001, 50.0, 50.00001, 99.99, 100.0], dtype=torch.float64)
    assert ScoreClasses((0.0, 100.0)).of(scores).tolist() == [0, 1, 2, 5, 6, 10, 10]


@given(BOUNDS, st.integers(0, 10), st.integers(-3, 3), st.sampled_from([32, 64]))
@settings(max_examples=300, deadline=None)
def test_next_to_an_edge_no_score_is_misplaced(bounds: tuple[float, float], edge: int, steps: int, width: int) -> None:
    low, high = bounds
    score = low + edge * (high - low) / 10
    if width == 32:  # as networks give it
        score = float(torch.tensor(score, dtype=torch.float32))
    for _ in range(abs(steps)):
        score = math.nextafter(score, math.copysign(math.inf, steps))
    assert class_of(score, low, high) == exact_class(score, low, high)


@given(BOUNDS, st.lists(st.floats(-2e6, 2e6, width=32), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_float32_score_has_the_class_that_fractions_give_it(
    bounds: tuple[float, float], scores: list[float]
) -> None:
    found = ScoreClasses(bounds).of(torch.tensor([scores], dtype=torch.float32))
    assert found.shape == (1, len(scores))
    assert found.dtype == torch.int64
    assert found[0].tolist() == [exact_class(score, *bounds) for score in scores]


def test_an_edge_that_no_float_is_lies_between_two_floats() -> None:
    # 3/10 of [0, 1] is 0.3, and the float 0.3 lies below it: it is class 3; 0.1 + 0.2 lies above: class 4.
    assert class_of(0.3, 0.0, 1.0) == 3
    assert class_of(0.1 + 0.2, 0.0, 1.0) == 4
    # The float 0.7 lies below seven tenths, 0.1 + 0.6 even lower; 0.1 itself lies above a tenth.
    assert class_of(0.7, 0.0, 1.0) == class_of(0.1 + 0.6, 0.0, 1.0) == 7
    assert class_of(0.1, 0.0, 1.0) == 2


@given(BOUNDS, st.floats(0.001, 0.999))
@settings(max_examples=80, deadline=None)
def test_a_scale_turned_round_turns_the_classes_round(bounds: tuple[float, float], share: float) -> None:
    # A metric whose lower scores are better has the same classes, read from the other end (but for the edges).
    low, high = bounds
    score = low + share * (high - low)
    number = Fraction(score) - Fraction(low)
    if (number * 10 / (Fraction(high) - Fraction(low))).denominator != 1:
        assert class_of(-score, -high, -low) == 11 - class_of(score, low, high)


@pytest.mark.parametrize("bounds", RANGES)
def test_the_middle_of_a_class_is_in_it_and_the_outer_classes_are_the_ends(bounds: tuple[float, float]) -> None:
    classes = ScoreClasses(bounds)
    every = torch.arange(CLASSES)
    middles = classes.middles(every)
    assert middles[0] == bounds[0]
    assert middles[11] == bounds[1]
    assert classes.of(middles)[:11].tolist() == list(range(11))
    width = (bounds[1] - bounds[0]) / 10
    assert middles[1:11].diff().tolist() == pytest.approx([width] * 9)
    assert float(middles[1]) == pytest.approx(bounds[0] + width / 2)
    assert torch.equal(classes.middles(every.flip(0)), middles.flip(0))
