"""Certificates hold as often as they say: metrics whose smoothed value is known, end to end, at α = 0.05."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from iqa_robustness.defenses.certified.bounds import Certificates
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.certified.randomized_smoothing import RandomizedSmoothing
from iqa_robustness.defenses.certified.score_classes import ScoreClasses
from iqa_robustness.defenses.certified.smoothing import Smoothing
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.streams import Streams

SIGMA, ALPHA, TRIALS = 0.04, 0.05, 2000
# Four standard errors of a share of TRIALS at α.
MARGIN = 4 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
WEIGHTS = np.random.RandomState(2).standard_normal((3, 4, 4)).astype(np.float32)
NORM = float(np.linalg.norm(WEIGHTS.astype(np.float64)))
SPREAD = SIGMA * NORM


class Linear(Metric):
    """Σ w · x, of a declared range: under noise it is normal, so that every smoothed value is known."""

    def __init__(self, score_range: tuple[float, float] = (-100.0, 100.0), *, higher_is_better: bool = True) -> None:
        super().__init__()
        self.spec = MetricSpec(name="linear", score_range=score_range, higher_is_better=higher_is_better)
        self.register_buffer("weights", torch.from_numpy(WEIGHTS))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).flatten(1).sum(dim=1)


class Distance(Metric):
    """‖x − c‖₂, Lipschitz with constant 1: under noise its square is a noncentral χ² variable."""

    spec = MetricSpec(name="distance", score_range=(0.0, 10.0))

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5).flatten(1).norm(dim=1)


def certified(defense: Smoothing, metric: Metric, images: Tensor) -> Certificates:
    streams = Streams("trials", [f"trial-{row}" for row in range(len(images))])
    return defense.protect(metric).certify(images, streams=streams, micro_batch=64)


def grey(count: int) -> Tensor:
    """The same picture many times, so far from the ends that noise is never clipped."""
    levels = np.random.RandomState(1).uniform(0.4, 0.6, (1, 3, 4, 4)).astype(np.float32)
    return torch.from_numpy(levels).repeat(count, 1, 1, 1)


# --- the regression form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percentile", [0.5, 0.8])
def test_bounds_of_a_linear_metric_are_wrong_as_rarely_as_they_say_and_not_much_rarer(percentile: float) -> None:
    epsilon = 0.02
    images = grey(TRIALS)
    defense = MedianSmoothing(sigma=SIGMA, n=64, epsilon=epsilon, alpha=ALPHA, percentile=percentile)
    found = certified(defense, Linear(), images)
    assert not found.abstained.any()
    # The smoothed percentile is f + σ‖w‖Φ⁻¹(p), and within ε it reaches ε‖w‖ further: there the bound is tight.
    centre = float(Linear()(images[:1])) + SPREAD * float(stats.norm.ppf(percentile))
    above = float((found.upper < centre + epsilon * NORM).double().mean())
    below = float((found.lower > centre - epsilon * NORM).double().mean())
    assert ALPHA / 4 < above <= ALPHA + MARGIN
    assert ALPHA / 4 < below <= ALPHA + MARGIN
    # The estimate is the order statistic's: asymptotically normal around the percentile.
    error = math.sqrt(percentile * (1 - percentile) / 64) / float(stats.norm.pdf(stats.norm.ppf(percentile))) * SPREAD
    assert float(found.scores.double().std()) == pytest.approx(error, rel=0.1)
    assert float(found.scores.double().mean()) == pytest.approx(centre, abs=0.2 * error)


def test_a_published_bound_one_place_too_low_is_wrong_more_often_than_it_says() -> None:
    # As the benchmark's code reads its ranks: n 10 at ε 0 has the ranks 1 and 10, and reads 9 for 10.
    draws = torch.from_numpy(np.random.RandomState(4).standard_normal((TRIALS, 10)).astype(np.float32))
    rates = []
    for paper in (False, True):
        defense = MedianSmoothing(sigma=1, n=10, epsilon=0.1, alpha=ALPHA, paper=paper)
        found = defense.certificates(draws, score_range=(0.0, 1.0))
        rates.append(float((found.upper < 0.1).double().mean()))
    assert rates[0] <= ALPHA + MARGIN
    assert rates[1] > ALPHA + MARGIN


def test_bounds_of_a_lipschitz_metric_hold_its_smoothed_value_at_every_shift() -> None:
    epsilon, d = 0.05, 48
    images = grey(300)
    found = certified(MedianSmoothing(sigma=SIGMA, n=200, epsilon=epsilon, alpha=0.001), Distance(), images)

    def smoothed(distance: float) -> float:
        """The median of ‖x + noise − c‖, by scipy."""
        return SIGMA * math.sqrt(stats.ncx2.ppf(0.5, d, (distance / SIGMA) ** 2))

    distance = float(Distance()(images[:1]))
    reached = [smoothed(distance + share * epsilon) for share in (-1, -0.5, 0, 0.5, 1)]
    # Smoothing keeps the Lipschitz constant, and the certificate holds whatever an attacker reaches by it.
    assert reached == sorted(reached)
    assert max(np.abs(np.diff(reached))) <= 0.5 * epsilon * (1 + 1e-9)
    assert (found.upper >= reached[-1]).all()
    assert (found.lower <= reached[0]).all()
    assert float(found.scores.mean()) == pytest.approx(reached[2], abs=0.002)


# --- the classification form ----------------------------------------------------------------------------------------


def boundary_at(distance: float, *, higher_is_better: bool = True) -> tuple[Linear, Tensor]:
    """A linear metric for which the picture lies in class 0, at an l2 distance from class 1, and nothing else near."""
    images = grey(TRIALS)
    low = float(Linear()(images[:1])) + distance * NORM
    return Linear((low, low + 1e4), higher_is_better=higher_is_better), images


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_certified_radii_exceed_the_true_one_as_rarely_as_they_say(higher_is_better: bool) -> None:
    distance = 0.03
    metric, images = boundary_at(distance, higher_is_better=higher_is_better)
    found = certified(RandomizedSmoothing(sigma=SIGMA, n0=8, n=64, alpha=ALPHA), metric, images)
    assert (found.classes == 0).double().mean() > 0.95
    share, rows = float(stats.norm.cdf(distance / SIGMA)), found.classes == 0
    assert float(found.votes[rows].double().mean()) / 64 == pytest.approx(share, abs=0.005)
    # Of a half-space the ideal radius is the distance itself: the certificate is tight.
    wrong = float((found.radius > distance).double().mean())
    assert ALPHA / 4 < wrong <= ALPHA + MARGIN
    counts = np.arange(65)
    bounds = stats.beta.ppf(ALPHA, np.maximum(counts, 1e-9), 65 - counts)
    expected = stats.binom.pmf(counts, 64, share) @ np.maximum(SIGMA * stats.norm.ppf(bounds), 0)
    assert float(found.radius[rows].mean()) == pytest.approx(expected, rel=0.03)


def test_a_picture_on_the_boundary_is_certified_as_rarely_as_alpha() -> None:
    metric, images = boundary_at(0.0)
    found = certified(RandomizedSmoothing(sigma=SIGMA, n0=8, n=64, alpha=ALPHA), metric, images)
    # Either class may be chosen, and neither has a majority.
    assert 0.4 < float((found.classes == 0).double().mean()) < 0.8
    assert set(found.classes.tolist()) == {0, 1}
    assert ALPHA / 4 < float((~found.abstained).double().mean()) <= ALPHA + MARGIN


def test_within_the_radius_the_ideal_class_stays() -> None:
    # Many edges near: the classes are a tenth of 4σ‖w‖ wide. The ideal g is the class of the largest probability.
    centre = float(Linear()(grey(1)))
    metric = Linear((centre - 2.1 * SPREAD, centre + 1.9 * SPREAD))
    edges = np.array(ScoreClasses(metric.spec.score_range).edges)

    def ideal(shift: float) -> int:
        """The class that g answers after a shift along the weights, in score units."""
        inside = np.diff([0, *stats.norm.cdf((edges - centre - shift) / SPREAD), 1])
        return int(np.argmax(inside))

    wide = Linear((centre - 9 * SPREAD, centre + 1.2 * SPREAD))
    edges_wide = np.array(ScoreClasses(wide.spec.score_range).edges)
    found = certified(RandomizedSmoothing(sigma=SIGMA, n0=20, n=100, alpha=0.001), wide, grey(100))
    for answer, radius in zip(found.classes.tolist(), found.radius.tolist(), strict=True):
        if not radius:
            continue
        for share in (-1, -0.5, 0, 0.5, 1):
            inside = np.diff([0, *stats.norm.cdf((edges_wide - centre - share * radius * NORM) / SPREAD), 1])
            assert int(np.argmax(inside)) == answer
    # With classes so narrow that none has a majority, it abstains.
    narrow = certified(RandomizedSmoothing(sigma=SIGMA, n0=20, n=100, alpha=0.001), metric, grey(20))
    assert narrow.abstained.all()
    assert ideal(0) in narrow.classes.tolist()


# --- families -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "defense",
    [MedianSmoothing(sigma=1, n=120, epsilon=0.2, alpha=ALPHA), RandomizedSmoothing(sigma=1, n=120, alpha=ALPHA)],
    ids=lambda defense: defense.name,
)
def test_a_family_of_certificates_is_all_right_with_the_promised_chance(defense: Smoothing) -> None:
    family, trials = 10, 500
    draws = torch.from_numpy(np.random.RandomState(7).standard_normal((trials * family, 120)).astype(np.float32))
    arguments: dict[str, Any] = {"selection": torch.full((len(draws), 4), -9.0), "score_range": (0.2, 1e4)}
    found = defense.certificates(draws, family=family, **arguments)
    alone = defense.certificates(draws, **arguments)
    wrong, before = ((each.upper < 0.2) if defense.form == "median" else (each.radius > 0.2) for each in (found, alone))
    allowed = ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
    assert float(wrong.view(trials, family).any(dim=1).double().mean()) <= allowed
    assert float(before.view(trials, family).any(dim=1).double().mean()) > 3 * ALPHA
    same = type(defense)(sigma=1, n=120, alpha=ALPHA / family, **({"epsilon": 0.2} if defense.form == "median" else {}))
    expected = same.certificates(draws, **arguments)
    assert torch.equal(found.radius, expected.radius)
    assert torch.equal(found.upper.nan_to_num(0), expected.upper.nan_to_num(0))


# --- early stops ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["median", "classification"])
def test_wherever_sampling_stops_the_bounds_hold_as_often_as_they_say(form: str) -> None:
    draws = torch.from_numpy(np.random.RandomState(8).standard_normal((TRIALS, 240)).astype(np.float32))
    arguments: dict[str, Any] = {"selection": torch.full((TRIALS, 4), -9.0), "score_range": (0.2, 1e4)}
    defenses: dict[int, Smoothing] = {
        looks: MedianSmoothing(sigma=1, n=240, epsilon=0.2, alpha=ALPHA, looks=looks)
        if form == "median"
        else RandomizedSmoothing(sigma=1, n=240, alpha=ALPHA, looks=looks)
        for looks in (1, 4)
    }
    rates = []
    for looks, defense in defenses.items():
        wrong = torch.zeros(TRIALS, dtype=torch.bool)
        # The worst rule of all: stop where the bound happens to be wrong.
        for size in defenses[4].sizes:
            spared = draws.clone()
            spared[:, size:] = torch.nan
            found = defense.certificates(spared, **arguments)
            wrong |= (found.upper < 0.2) if form == "median" else (found.radius > 0.2)
        rates.append((looks, float(wrong.double().mean())))
    assert rates[1][1] <= ALPHA + MARGIN
    # Looked at as often without the correction, it would not hold.
    assert rates[0][1] > ALPHA + MARGIN
