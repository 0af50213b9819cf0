"""Query attacks against optima known in closed form: which share of the largest possible gain each one reaches.

The toy metrics of the gradient attacks' ground truth, 32 × 32 pixels, 8/255, with 1,000 and with 10,000 queries. In the
3,072 dimensions of white Gaussian weights nothing can be known of a pixel that no query has told apart from the others:
parsimonious looks at each once and then knows all, random squares take longer over the last ones, and the estimates of
NES from n pairs have the cosine √(n ÷ (n + 3,072)) to the slope, 0.79 if all 5,000 pairs stood for one. The quadratic
has its top inside the cube for half the pixels. Parsimonious and square know corners only, whose best has 0.817 of the
optimum, and start from one that loses, which a thousand queries do not make up for.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks

EPSILON, SIDE = 8 / 255, 32
TOYS = ("linear", "quadratic", "blur")
# The least share of each attack's gain in the largest one: what was measured, cut off after the second digit.
LEAST = {
    1_000: {
        "nes": {"linear": 0.3, "quadratic": 0.07, "blur": 0.26},
        "parsimonious": {"linear": 0.37, "quadratic": 0.0, "blur": 0.26},
        "square": {"linear": 0.38, "quadratic": 0.0, "blur": 0.3},
    },
    10_000: {
        "nes": {"linear": 0.58, "quadratic": 0.6, "blur": 0.51},
        "parsimonious": {"linear": 0.99, "quadratic": 0.81, "blur": 0.99},
        "square": {"linear": 0.76, "quadratic": 0.47, "blur": 0.63},
    },
}


def made(toys: SimpleNamespace, kind: str, clean: Tensor) -> torch.nn.Module:
    if kind == "linear":
        metric = toys.Linear(toys.gaussian(SIDE, SIDE))
    elif kind == "quadratic":
        top = clean.mean(dim=0) + toys.gaussian(SIDE, SIDE, seed=4, scale=10 / 255)
        metric = toys.Quadratic(toys.gaussian(SIDE, SIDE).abs() + 0.002, top)
    else:
        metric = toys.BlurEnergy(toys.gaussian(SIDE, SIDE, seed=6).sign())
    metric._record = lambda images: None  # thirty thousand images
    return metric


def shares(toys: SimpleNamespace, name: str, kind: str, queries: int) -> list[float]:
    clean = toys.pictures(1, SIDE, SIDE, low=90, high=166)
    metric = made(toys, kind, clean)
    result = attacks.create(name, epsilon=EPSILON, queries=queries)(metric, clean, micro_batch=64)
    assert int(result.forwards.max()) <= queries
    return ((result.values - result.clean_values).double() / metric.largest_gain_linf(clean, EPSILON)).tolist()


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("name", LEAST[1_000])
def test_the_share_of_the_optimum_within_a_thousand_queries(toys: SimpleNamespace, name: str, kind: str) -> None:
    reached = shares(toys, name, kind, 1_000)
    assert LEAST[1_000][name][kind] <= min(reached)
    assert max(reached) <= 1 + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("name", LEAST[10_000])
def test_the_share_of_the_optimum_within_ten_thousand_queries(toys: SimpleNamespace, name: str, kind: str) -> None:
    reached = shares(toys, name, kind, 10_000)
    assert LEAST[10_000][name][kind] <= min(reached)
    assert max(reached) <= 1 + 1e-4


def test_random_signs_reach_next_to_nothing(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, SIDE, SIDE, low=90, high=166)
    metric = made(toys, "linear", clean)
    signs = torch.randint(0, 2, (1_000, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    best = (metric(clean + EPSILON * signs) - metric(clean)).max()
    reached = float(best / metric.largest_gain_linf(clean, EPSILON)[0])
    assert 0.03 < reached < 0.1  # 3.2 standard deviations of √3072 in 0.8 × 3072
    assert all(least["linear"] > 3 * reached for least in LEAST[1_000].values())


def test_the_best_corner_of_the_quadratic_falls_short_of_its_optimum(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, SIDE, SIDE, low=90, high=166)
    metric = made(toys, "quadratic", clean)
    away = (metric.centre - clean).double()
    nearest = torch.minimum((away - EPSILON).square(), (away + EPSILON).square())
    gain = (metric.weights * (away.square() - nearest)).flatten(1).sum(dim=1)
    share = float(gain / metric.largest_gain_linf(clean, EPSILON))
    assert 0.8 < share < 0.85
    assert LEAST[10_000]["parsimonious"]["quadratic"] == pytest.approx(share, abs=0.01)
