"""The attack inside the training: the two steps of APGD by hand, the ball, the best iterate, random starts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.training.inner_attack import KINDS, InnerAttack

EPSILON = 4 / 255


def grey(*values: float, side: int = 2) -> Tensor:
    """One image a value."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, side, side).clone()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apgd_by_hand(function: Callable[[float], float], start: float, epsilon: float) -> float:
    """Two steps for one number: Croce and Hein's Alg. 1 in the numbers of the benchmark (alpha 1, no random start)."""

    def slope(x: float) -> float:
        return float(np.sign(function(x + 1e-6) - function(x - 1e-6)))

    def ball(x: float) -> float:
        return min(max(x, start - epsilon, 0.0), start + epsilon, 1.0)

    size = epsilon
    first = ball(start + size * slope(start))
    best = first if function(first) > function(start) else start
    rose = function(first) > function(start)
    current, previous = first, start
    if not rose:  # the check after step max(int(0.22 · 2), 1) = 1: fewer than 75 % of the steps rose
        size, current = size / 2, best
    moved = ball(current + size * slope(current))
    second = ball(current + 0.75 * (moved - current) + 0.25 * (current - previous))
    return second if function(second) > function(best) else best


@pytest.mark.parametrize("start", [0.3, 0.5, 0.62, 0.9])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 3 * x,
        lambda x: -3 * x,
        lambda x: -((x - 0.51) ** 2),
        lambda x: torch.sin(400 * x),
        lambda x: (x - 0.615).abs(),
    ],
    ids=["up", "down", "peak", "waves", "valley"],
)
def test_two_steps_of_apgd_are_those_by_hand(function: Callable[[Tensor], Tensor], start: float) -> None:
    expected = apgd_by_hand(lambda x: float(function(torch.tensor(x, dtype=torch.float64))), start, EPSILON)
    found = InnerAttack(epsilon=EPSILON)(
        lambda images: function(images.mean(dim=(1, 2, 3))), grey(start).double(), generator=seeded()
    )
    assert float(found.mean()) == pytest.approx(expected, abs=1e-7)


def test_the_second_step_has_momentum() -> None:
    """Towards a far peak with a ball that does not bind: 0.75 · step + 0.25 · the step before."""
    trail = []

    def objective(images: Tensor) -> Tensor:
        trail.append(float(images.detach().mean()))
        return images.mean(dim=(1, 2, 3))

    InnerAttack(epsilon=0.4, alpha=0.25)(objective, grey(0.5).double(), generator=seeded())
    assert trail == pytest.approx([0.5, 0.6, 0.6 + 0.75 * 0.1 + 0.25 * 0.1])


def test_each_image_keeps_its_best_iterate() -> None:
    """At a maximum of its own the clean image stays; its companion climbs."""

    def objective(images: Tensor) -> Tensor:
        value = images.mean(dim=(1, 2, 3))
        return torch.stack([-((value[0] - 0.5) ** 2), value[1]])

    found = InnerAttack(epsilon=EPSILON)(objective, grey(0.5, 0.5).double(), generator=seeded())
    assert torch.equal(found[0], grey(0.5).double()[0])
    assert float(found[1].mean()) == pytest.approx(0.5 + EPSILON)


def test_it_costs_one_forward_more_than_steps() -> None:
    calls = {"with": 0, "without": 0}

    def objective(images: Tensor) -> Tensor:
        calls["with" if torch.is_grad_enabled() else "without"] += 1
        return images.sum(dim=(1, 2, 3))

    InnerAttack(epsilon=EPSILON)(objective, grey(0.5), generator=seeded())
    assert calls == {"with": 2, "without": 1}
    InnerAttack(epsilon=EPSILON, steps=3, momentum=False)(objective, grey(0.5), generator=seeded())
    assert calls == {"with": 5, "without": 1}


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    epsilon=st.floats(0.001, 0.2),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3),
    weight=st.floats(-3, 3, width=32),
)
def test_it_stays_in_the_ball_and_in_range(kind: str, epsilon: float, values: list[float], weight: float) -> None:
    images = grey(*values)
    found = KINDS[kind](epsilon)(
        lambda x: weight * (x * torch.linspace(-1, 1, 2)).sum(dim=(1, 2, 3)), images, generator=seeded()
    )
    assert float((found - images).abs().max()) <= epsilon + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not found.requires_grad


def test_kinds_are_the_published_ones() -> None:
    apgd, fgsm, free, pgd = (KINDS[name](EPSILON) for name in ("apgd", "fgsm", "free", "pgd"))
    assert (apgd.steps, apgd.alpha, apgd.start, apgd.momentum) == (2, 1.0, "clean", True)
    assert (fgsm.steps, fgsm.alpha, fgsm.start) == (1, 1.25, "clean")
    assert (free.steps, free.alpha, free.start) == (1, 1.25, "uniform")
    assert (pgd.steps, pgd.start) == (10, "uniform")


def test_a_uniform_start_is_drawn_from_the_generator_and_fills_the_ball() -> None:
    attack = KINDS["free"](0.1)
    images = grey(0.5, side=32)
    still = lambda x: 0 * x.sum(dim=(1, 2, 3))  # noqa: E731 - its gradient is zero: the start is what is returned
    first, again, other = (attack(still, images, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float((first - 0.5).abs().max()) == pytest.approx(0.1, abs=0.005)
    assert float(first.mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("wrong", [{"epsilon": 0}, {"epsilon": 2}, {"steps": 0}, {"alpha": 0}])
def test_impossible_attacks_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="inner attack needs"):
        InnerAttack(**{"epsilon": EPSILON, **wrong})  # type: ignore[arg-type]
